/* An operator's question over the network: HELLO, CHALLENGE, PROOF, ASK, ANSWER (proto/README.md). */
#include "deploy/tool/line.h"

static int ask(struct line *line, const char *command, struct sp_message *answer, struct sp_error *error)
{
    const struct sp_hello hello = {.role = SP_ROLE_OPERATOR, .wanted_slot = SP_ANY_SLOT};
    struct sp_message message = {.frame = {.type = SP_FRAME_ASK}};
    int rc = line_greet(line, &hello, error);

    (void)snprintf(message.command, sizeof message.command, "%s", command);
    if (rc == SP_OK)
        rc = line_send(line, &message, error);
    return rc == SP_OK ? line_read(line, SP_FRAME_ANSWER, answer, error) : rc;
}

json_t *tool_ask_remote(const struct tool_remote *with, const char *command, struct sp_error *error)
{
    struct sp_message answer = {.frame = {.type = SP_FRAME_ANSWER}};
    struct line line = {.fd = -1};
    json_t *json = NULL;
    int rc = line_open(&line, with, error);

    if (rc == SP_OK)
        rc = ask(&line, command, &answer, error);
    if (rc == SP_OK) {
        json = json_loads(answer.answer, 0, NULL);
        if (json == NULL)
            (void)sp_error_set(error, SP_E_PROTOCOL, "the answer of %s is not JSON", with->server);
    }
    sp_message_finish(&answer);
    line_close(&line);
    return tool_take_refusal(json, with->server, command, error);
}
