#include "tests/torch/model_words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void model_fail(const char *what, const struct sp_error *error)
{
    (void)fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, error != NULL ? ": " : "",
                  error != NULL ? error->text : "");
    exit(EXIT_FAILURE);
}

static void read_word(struct model_words *out, const char *name, const char *value)
{
    struct sp_error error = {0};
    struct sp_shape *shape = &out->shape;
    int end = 0, taken = 0;

    if (strncmp(name, "model.", 6) == 0) {
        if (sp_job_set(&out->job, name, value, &error) != SP_OK)
            model_fail("a key of the model", &error);
        return;
    }
    if (strcmp(name, "shape") == 0)
        taken = sscanf(value, "%" SCNu32 "x%" SCNu32 "x%" SCNu32 "%n", &shape->channels, &shape->height, &shape->width,
                       &end) == 3;
    else if (strcmp(name, "classes") == 0)
        taken = sscanf(value, "%" SCNu32 "%n", &out->classes, &end);
    else if (strcmp(name, "batch") == 0)
        taken = sscanf(value, "%" SCNu32 "%n", &out->batch, &end);
    else if (strcmp(name, "room") == 0)
        taken = sscanf(value, "%" SCNu32 "%n", &out->room, &end);
    else if (strcmp(name, "steps") == 0)
        taken = sscanf(value, "%" SCNu32 "%n", &out->steps, &end);
    else if (strcmp(name, "warm") == 0)
        taken = sscanf(value, "%" SCNu32 "%n", &out->warm, &end);
    else if (strcmp(name, "rate") == 0)
        taken = sscanf(value, "%f%n", &out->rate, &end);
    if (taken != 1 || value[end] != 0)
        model_fail(name, &(struct sp_error){.text = "no such word, or another value than it takes"});
}

void model_words_read(struct model_words *out, int count, char **words)
{
    *out = (struct model_words){.shape = {1, 8, 8}, .classes = 10, .batch = 16, .steps = 1};
    sp_job_init(&out->job);
    for (int i = 0; i < count; i++) {
        char *equals = strchr(words[i], '=');

        if (equals == NULL)
            model_fail(words[i], &(struct sp_error){.text = "should be NAME=VALUE"});
        *equals = 0;
        read_word(out, words[i], equals + 1);
    }
    if (out->room == 0)
        out->room = out->batch;
    if (out->batch == 0 || out->batch > out->room || out->steps == 0)
        model_fail("batch, room or steps are out of range", NULL);
}

struct sp_model *model_words_create(const struct model_words *words)
{
    struct sp_model *model = NULL;
    struct sp_error error = {0};

    if (sp_model_create(&model, &words->job, &words->shape, words->classes, words->room, &error) != SP_OK)
        model_fail("the model", &error);
    return model;
}

float *model_floats(uint64_t count)
{
    float *values = calloc(count == 0 ? 1 : count, sizeof *values);

    if (values == NULL)
        model_fail("no memory", NULL);
    return values;
}
