/* JSON from files. */
#include "deploy/tool/tool.h"

#include <stdlib.h>

/* jansson tells a lack of memory from a fault of the text only now and then, and what is taken for a fault of the text
 * would be blamed on whoever wrote it. */
static bool lacked_memory;

static void *allocate(size_t bytes)
{
    void *block = malloc(bytes);

    lacked_memory = lacked_memory || block == NULL;
    return block;
}

int tool_parse_json(const char *text, size_t bytes, const char *path, json_t **json, const char **why,
                    struct sp_error *error)
{
    static json_error_t fault;

    json_set_alloc_funcs(allocate, free);
    lacked_memory = false;
    *json = json_loadb(text, bytes, 0, &fault);
    if (*json == NULL && lacked_memory)
        return sp_error_set(error, SP_E_NOMEM, "no memory to read %s", path);
    if (why != NULL)
        *why = fault.text;
    return SP_OK;
}
