/* Memory of server and worker, as `need` reckons it. */
#include "deploy/tool/check.h"
#include "deploy/tool/need.h"

#include <stdio.h>

#define SHOWN_BYTES 50e3 /* of a row */

static const char *const names[NEED_COLUMNS] = {"start", "sign", "margin", "sgd"};

static struct need_job describe(const struct sp_job *job, const struct check_model *model)
{
    struct need_job need = {.layout = &model->layout,
                            .workers = job->workers,
                            .wire = sp_job_wire(job),
                            .adam = job->optimizer.mode == SP_MODE_ADAM,
                            .checkpoints = job->server.checkpoint.enabled,
                            .journals = job->server.checkpoint.enabled && job->server.journal.enabled,
                            .init_file = job->model.init[0] != '\0',
                            .data_bytes = (double)model->mapped_bytes + (double)model->held_bytes,
                            .examples = model->examples,
                            .activation_bytes = (double)model->activation_bytes,
                            .inputs = model->inputs,
                            .batch = model->batch};

    need.has[NEED_START] = true;
    need.has[NEED_SIGN] = check_has_phase(job, SP_PHASE_SIGN);
    need.has[NEED_MARGIN] = check_has_phase(job, SP_PHASE_MARGIN);
    need.has[NEED_SGD] = check_has_phase(job, SP_PHASE_SGD);
    return need;
}

static void print_row(const struct need_job *job, const char *what, const double bytes[NEED_COLUMNS])
{
    (void)printf("  %-40s", what);
    for (int i = 0; i < NEED_COLUMNS; i++)
        if (job->has[i])
            (void)printf(" %10.1f", bytes[i] / 1e6);
    (void)printf("\n");
}

/* In a table of MB nobody misses it. */
static bool is_small(const struct need_row *row)
{
    double most = 0.0;

    for (int i = 0; i < NEED_COLUMNS; i++)
        most = row->bytes[i] > most ? row->bytes[i] : most;
    return most < SHOWN_BYTES;
}

static void print_rows(const struct need_job *job, const struct need *need)
{
    double rest[NEED_COLUMNS] = {0};

    for (unsigned i = 0; i < need->rows; i++) {
        if (!is_small(&need->row[i])) {
            print_row(job, need->row[i].what, need->row[i].bytes);
            continue;
        }
        for (int k = 0; k < NEED_COLUMNS; k++)
            rest[k] += need->row[i].bytes[k];
    }
    print_row(job, "the rest", rest);
}

static void print(const struct need_job *job, const char *whose, const struct need *need)
{
    double totals[NEED_COLUMNS];

    (void)printf("memory of %s in MB, at most %.1f:\n  %-40s", whose, need_most(job, need) / 1e6, "");
    for (int i = 0; i < NEED_COLUMNS; i++) {
        totals[i] = need_total(need, (enum need_column)i);
        if (job->has[i])
            (void)printf(" %10s", names[i]);
    }
    (void)printf("\n");
    print_rows(job, need);
    print_row(job, "in all", totals);
    if (need->checkpoint[NEED_START] > 0.0)
        print_row(job, "and while a checkpoint is made", need->checkpoint);
}

/* Frames at the start are the initial weights, which one worker gives. */
static void say_others(const struct need *worker)
{
    for (unsigned i = 0; i < worker->rows; i++)
        if (worker->row[i].what == need_waiting && worker->row[i].bytes[NEED_START] >= SHOWN_BYTES)
            (void)printf("  (of the one that gives the initial weights; the others take up to %.1f less)\n",
                         worker->row[i].bytes[NEED_START] / 1e6);
}

void check_need(const struct sp_job *job, const struct check_model *model)
{
    const struct need_job need = describe(job, model);
    struct need of;

    need_of_server(&need, &of);
    print(&need, "the server", &of);
    if (need.journals)
        (void)printf("  (while its disk is slow, the journal waits: up to %.0f more)\n", NEED_JOURNAL_BYTES / 1e6);
    need_of_worker(&need, &of);
    print(&need, "a worker", &of);
    say_others(&of);
}
