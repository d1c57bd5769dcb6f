/* The job of a simulated cluster: how it begins, and what came of it. */
#include "cluster_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_US_SPREAD 50000

static void set(struct sp_job *job, const char *setting)
{
    char path[128];
    const char *equals = strchr(setting, '=');
    struct sp_error error = {0};

    must(equals != NULL);
    (void)snprintf(path, sizeof path, "%.*s", (int)(equals - setting), setting);
    must_say(sp_job_set(job, path, equals + 1, &error) == SP_OK, "%s: %s", setting, error.text);
}

static void __attribute__((noreturn)) complain(void *arg, const char *path, const char *words)
{
    (void)arg;
    ck_abort_msg("%s: %s", path, words);
}

static void add_tensor(struct cluster *c, char kind, unsigned number, uint64_t count, uint32_t flags)
{
    struct sp_tensor tensor = {.dims = 1, .shape = {count}, .flags = flags};

    (void)snprintf(tensor.name, sizeof tensor.name, "%c%u", kind, number);
    must((sp_layout_add(&c->layout, &tensor, NULL)) == SP_OK);
}

void cluster_open(struct cluster *c)
{
    const struct cluster_options *o = c->options;

    sp_job_init(&c->job);
    set(&c->job, "job=cluster");
    for (const char *const *s = o->settings; *s != NULL; s++)
        set(&c->job, *s);
    must(sp_job_validate(&c->job, complain, NULL) == 0);
    for (unsigned i = 0; o->tensors[i] != 0; i++)
        add_tensor(c, 't', i, o->tensors[i], i == 0 ? SP_TENSOR_DECAY : 0);
    for (unsigned i = 0; o->buffers != NULL && o->buffers[i] != 0; i++)
        add_tensor(c, 'b', i, o->buffers[i], SP_TENSOR_BUFFER);
    c->layout_digest = sp_layout_digest(&c->layout);
    sp_rng_init(&c->rng, sp_rng_key(o->seed, SP_RNG_TEST), 0, 0);
    must((sp_round_create(&c->round, &c->job)) == SP_OK);
    sp_round_keep(c->round, CLUSTER_RUN, true);
    c->processes = calloc(o->processes, sizeof *c->processes);
    must(c->processes != NULL);
    keep_open(c);
    check_open(c);
    for (uint32_t i = 0; i < o->processes; i++) {
        sp_rng_init(&c->processes[i].rng, sp_rng_key(o->seed, SP_RNG_TEST), 1, i);
        cluster_at(c, cluster_random(c, START_US_SPREAD), EVENT_CONNECT, i, 0);
    }
    cluster_at(c, 0, EVENT_TICK, 0, 0);
}

void cluster_close(struct cluster *c)
{
    for (uint32_t i = 0; i < c->options->processes; i++)
        worker_finish(&c->processes[i]);
    free(c->processes);
    for (uint32_t i = 1; i <= c->lines_count; i++) {
        cluster_empty(&c->lines[i]->up);
        cluster_empty(&c->lines[i]->down);
        free(c->lines[i]);
    }
    free(c->lines);
    free(c->events);
    keep_close(c);
    check_close(c);
    objective_finish(c);
    sp_round_destroy(c->round);
    sp_layout_finish(&c->layout);
}

void cluster_take_result(struct cluster *c)
{
    struct cluster_result *result = c->result;
    struct sp_view view;

    sp_round_view(c->round, &view);
    result->digest = c->oracle.digests[view.round];
    result->rounds = view.round;
    result->buffers = c->oracle.averaged[view.round];
    result->switch_round = view.switches_count > 0 ? view.switches[0].round : 0;
    result->second_switch = view.switches_count > 1 ? view.switches[1].round : 0;
    result->last_loss = objective_loss(c, view.theta);
    result->least_loss = objective_least(c);
    result->evaluated = view.evaluated;
    result->partial = view.partial;
    for (uint32_t i = 0; i < c->job.workers; i++) {
        result->late += view.slots[i].late;
        result->abstained += view.slots[i].abstained;
        result->joins += view.slots[i].joins;
        result->resyncs += view.slots[i].resyncs;
        result->missed += view.slots[i].missed;
    }
    result->end_ms = cluster_now_ms(c);
}
