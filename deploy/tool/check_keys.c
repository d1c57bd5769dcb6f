/* Every key of a job with its value, and those that do nothing in it. */
#include "common/rules.h"
#include "deploy/tool/check.h"

#include <stdio.h>
#include <string.h>

void check_list_keys(void)
{
    char allowed[SP_VALUE_BYTES];

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        const char *fallback = key->fallback == NULL ? "required" : key->fallback[0] == '\0' ? "\"\"" : key->fallback;

        sp_job_allowed(key, allowed, sizeof allowed);
        (void)printf("%s\t%s\t%s\t%s\n", key->path, fallback, allowed, key->meaning);
    }
}

/* One rule a line: together they can be thousands of characters. */
static void print_rules(const char *path, const struct sp_tensor_rules *rules)
{
    char text[SP_VALUE_BYTES];

    for (uint32_t i = 0; i < rules->count; i++) {
        sp_rule_write(&rules->rule[i], text, sizeof text);
        (void)printf("%-28s - %s\n", i == 0 ? path : "", text);
    }
}

static void print_values(const struct sp_job *job)
{
    static struct sp_job defaults;
    char value[SP_VALUE_BYTES], fallback[SP_VALUE_BYTES];

    sp_job_init(&defaults);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        bool standard;

        if (key->type == SP_KEY_RULES && job->tensors.count > 0) {
            print_rules(key->path, &job->tensors);
            continue;
        }
        sp_job_get(job, key, value, sizeof value);
        sp_job_get(&defaults, key, fallback, sizeof fallback); /* written alike: the table may say 1e-3 for 0.001 */
        standard = key->fallback != NULL && strcmp(value, fallback) == 0;
        (void)printf("%-28s %-16s %s\n", key->path, value[0] != '\0' ? value : "\"\"", standard ? "(default)" : "");
    }
}

/* Keys that were set, but that nothing of this job looks at: no mistake where a word is changed to compare, but a
 * surprise to whoever hoped for an effect. */
static void print_idle(const struct sp_job *job)
{
    const struct {
        const char *prefix, *other;
        bool used;
    } groups[] = {{"model.hidden", "model.type mlp", job->model.type == SP_MODEL_MLP},
                  {"model.width", "model.type resnet18", job->model.type == SP_MODEL_RESNET18},
                  {"data.csv.", "data.format csv", job->data.format == SP_DATA_CSV}};
    char value[SP_VALUE_BYTES];

    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        for (size_t k = 0; k < sp_job_keys_count && !groups[i].used; k++) {
            const struct sp_key *key = &sp_job_keys[k];

            sp_job_get(job, key, value, sizeof value);
            if (strncmp(key->path, groups[i].prefix, strlen(groups[i].prefix)) == 0 &&
                strcmp(value, key->fallback) != 0)
                (void)printf("%s: has no effect without %s\n", key->path, groups[i].other);
        }
}

void check_keys(const struct sp_job *job)
{
    print_values(job);
    print_idle(job);
}
