#include "deploy/tool/need.h"

#include "common/buffer.h"
#include "common/pack.h"
#include "common/planes.h"

#include <assert.h>
#include <string.h>

/* Programs and libraries before there is a model: measured, on x86-64. */
#define SERVER_BASE_BYTES 7.5e6
#define WORKER_BASE_BYTES 9e6
#define FRAME_BYTES                                                                                                    \
    (double)(SP_BUFFER_HEAD_BYTES + SP_BUFFER_BULK_BYTES + 64u) /* of a pooled one, whatever is in it                  \
                                                                 */
#define SOCKETS_BYTES 5e6 /* that the kernel holds for a connection, before anything waits in the program */
#define MOMENTS 4         /* Adam's m and v, of this round and of the next one */
#define FLOAT (double)sizeof(float)

const char need_waiting[] = "frames that wait for the line";

static struct sp_round_form form_of(const struct need_job *job, enum need_column column)
{
    static const enum sp_phase phases[] = {
        [NEED_SIGN] = SP_PHASE_SIGN, [NEED_MARGIN] = SP_PHASE_MARGIN, [NEED_SGD] = SP_PHASE_SGD};

    return (struct sp_round_form){.phase = phases[column], .wire = job->wire};
}

/* Adds to a row from a column on, in those that the job has; to a new one if it has other words than the last. */
static void add(const struct need_job *job, struct need *need, const char *what, enum need_column from, double bytes)
{
    struct need_row *row = need->rows > 0 ? &need->row[need->rows - 1] : NULL;

    if (!(bytes > 0.0) || (from != NEED_START && !job->has[from]))
        return;
    if (row == NULL || strcmp(row->what, what) != 0) {
        assert(need->rows < NEED_ROWS_MAX);
        row = &need->row[need->rows++];
        *row = (struct need_row){.what = what};
    }
    for (int i = (int)from; i < NEED_COLUMNS; i++)
        row->bytes[i] += bytes;
}

/* In one column alone. */
static void add_at(const struct need_job *job, struct need *need, const char *what, enum need_column at, double bytes)
{
    add(job, need, what, at, bytes);
    if (bytes > 0.0 && (at == NEED_START || job->has[at]))
        for (int i = (int)at + 1; i < NEED_COLUMNS; i++)
            need->row[need->rows - 1].bytes[i] -= bytes;
}

/* What only grows: in each column the most of it and those before. */
static void add_most(const struct need_job *job, struct need *need, const char *what,
                     double (*bytes)(const struct need_job *job, enum need_column column))
{
    double most = 0.0;

    for (int i = NEED_SIGN; i < NEED_COLUMNS; i++) {
        double now = job->has[i] ? bytes(job, (enum need_column)i) : 0.0;

        if (now > most) {
            add(job, need, what, (enum need_column)i, now - most);
            most = now;
        }
    }
}

/* --- the server ------------------------------------------------------------------------------------------------------
 */

static double window(const struct need_job *job, enum need_column column)
{
    const struct sp_round_form form = form_of(job, column);
    uint32_t chunks = sp_chunks_count(job->layout, &form);
    double bytes = 0.0;

    for (uint32_t k = 0; k < chunks && k < NEED_WINDOW; k++)
        bytes += (double)sp_chunk_at(job->layout, &form, k).bytes;
    return bytes * job->workers;
}

/* A round's frames wait for the workers' lines, and with a journal until all of the round is written. Those of the
 * round before are not free then: all of them where values travel, for a disk takes its time for these, else some. */
static double frames(const struct need_job *job, enum need_column column)
{
    const struct sp_round_form form = form_of(job, column);
    double rounds = !job->journals ? 1.0 : column == NEED_SGD ? 2.0 : 1.25;

    return FRAME_BYTES * rounds * (sp_chunks_count(job->layout, &form) + 1.0);
}

static void add_values(const struct need_job *job, struct need *need)
{
    double d = (double)job->layout->coordinates;
    const uint64_t margin_chunks = (job->layout->coordinates + SP_CHUNK_MARGIN - 1) / SP_CHUNK_MARGIN;
    const uint64_t decoded = (uint64_t)job->workers * SP_CHUNK_SHORT;
    bool coded = job->has[NEED_SGD] && job->wire != SP_WIRE_F32;

    add(job, need, "values of an update", job->has[NEED_MARGIN] ? NEED_MARGIN : NEED_SGD, FLOAT * d);
    add(job, need, "vote counts", NEED_MARGIN,
        (double)margin_chunks * (double)sp_planes_bytes(job->workers, SP_CHUNK_MARGIN));
    add(job, need, "coded values of an update", NEED_SGD, coded ? (job->wire == SP_WIRE_I8 ? 1.0 : 2.0) * d : 0.0);
    add(job, need, "decoded values of a chunk", NEED_SGD, coded ? FLOAT * (double)decoded : 0.0);
    add(job, need, "what int8 left out", NEED_SGD, job->wire == SP_WIRE_I8 ? FLOAT * d : 0.0);
    add(job, need, "Adam's moments", NEED_SGD, job->adam ? MOMENTS * FLOAT * d : 0.0);
    add(job, need, "gradients, and for the journal", NEED_SGD, job->adam && job->journals ? 4.0 * FLOAT * d : 0.0);
}

void need_of_server(const struct need_job *job, struct need *need)
{
    double d = (double)job->layout->coordinates, buffers = (double)job->layout->buffers;
    bool votes = job->has[NEED_SIGN] || job->has[NEED_MARGIN];
    double moments = job->adam ? 2.0 * FLOAT * d : 0.0;

    memset(need, 0, sizeof *need);
    add(job, need, "program", NEED_START, SERVER_BASE_BYTES);
    add(job, need, "weights", NEED_START, FLOAT * d);
    add(job, need, "buffers, and tensors in full", NEED_START, FLOAT * (2.0 * buffers + (double)job->layout->full));
    add_at(job, need, "weights as frames, for who joins", NEED_START, FLOAT * d);
    add(job, need, "majority of this round and the last", job->has[NEED_SIGN] ? NEED_SIGN : NEED_MARGIN,
        votes ? 2.0 * (double)sp_bits_bytes(job->layout->coordinates) : 0.0);
    add_most(job, need, "pushes, 4 chunks a worker", window);
    add_most(job, need, job->journals ? "updates as frames, and for the journal" : "updates as frames", frames);
    add_values(job, need);
    for (int i = 0; i < NEED_COLUMNS && job->checkpoints; i++)
        need->checkpoint[i] = FLOAT * (d + buffers) + (i == NEED_SGD ? moments : 0.0);
}

/* --- the worker ------------------------------------------------------------------------------------------------------
 */

static double push(const struct need_job *job, enum need_column column)
{
    const struct sp_round_form form = form_of(job, column);
    uint32_t chunks = sp_chunks_count(job->layout, &form);
    double bytes = 0.0;

    for (uint32_t k = NEED_WINDOW; k < chunks; k++) /* those before wait at the server */
        bytes += (double)sp_chunk_at(job->layout, &form, k).bytes;
    return bytes;
}

/* What was taken for the initial weights serves for pushes later. */
static void add_frames(const struct need_job *job, struct need *need)
{
    double weights = FLOAT * (double)(job->layout->coordinates + job->layout->buffers) - SOCKETS_BYTES;
    double most = job->init_file || weights < 0.0 ? 0.0 : weights;

    add(job, need, need_waiting, NEED_START, most);
    for (int i = NEED_SIGN; i < NEED_COLUMNS; i++) {
        double now = job->has[i] ? push(job, (enum need_column)i) : 0.0;

        add(job, need, need_waiting, (enum need_column)i, now - most);
        most = now > most ? now : most;
    }
}

void need_of_worker(const struct need_job *job, struct need *need)
{
    double d = (double)job->layout->coordinates, buffers = (double)job->layout->buffers;
    bool votes = job->has[NEED_SIGN] || job->has[NEED_MARGIN];

    memset(need, 0, sizeof *need);
    add(job, need, "program", NEED_START, WORKER_BASE_BYTES);
    add(job, need, "training and test data", NEED_START, job->data_bytes);
    add(job, need, "order of the examples", NEED_START, (double)sizeof(uint32_t) * (double)job->examples);
    add(job, need, "weights", NEED_START, FLOAT * d);
    add(job, need, "momentum", NEED_START, FLOAT * d);
    add(job, need, "gradient", NEED_START, FLOAT * d);
    add(job, need, "activations of a batch", NEED_START,
        job->activation_bytes + FLOAT * (double)job->inputs * job->batch);
    add(job, need, "buffers, and tensors in full", NEED_START, FLOAT * (2.0 * buffers + (double)job->layout->full));
    add(job, need, "majority, staged", NEED_START, votes ? (double)sp_bits_bytes(job->layout->coordinates) : 0.0);
    add(job, need, "values of an update, staged", job->has[NEED_MARGIN] ? NEED_MARGIN : NEED_SGD, FLOAT * d);
    add(job, need, "what int8 left out", NEED_SGD, job->wire == SP_WIRE_I8 ? FLOAT * d : 0.0);
    add_frames(job, need);
}

double need_total(const struct need *need, enum need_column column)
{
    double total = 0.0;

    for (unsigned i = 0; i < need->rows; i++)
        total += need->row[i].bytes[column];
    return total;
}

double need_most(const struct need_job *job, const struct need *need)
{
    double most = 0.0;

    for (int i = NEED_START; i < NEED_COLUMNS; i++) {
        double total = need_total(need, (enum need_column)i) + need->checkpoint[i];

        if ((i == NEED_START || job->has[i]) && total > most)
            most = total;
    }
    return most;
}
