/* The memory of a job against sums that were made by hand. */
#include "deploy/tool/need.h"

#include "server/tally.h"

#include "unit.h"

#include <math.h>
#include <string.h>

static struct sp_layout layout;
static struct need_job job;
static struct need need;

/* A million parameters, 4 workers, signs and then values. */
static void begin(enum sp_wire wire)
{
    struct sp_tensor weight = {.name = "w", .dims = 2, .shape = {1000, 1000}};

    sp_layout_finish(&layout);
    ck_assert_int_eq(sp_layout_add(&layout, &weight, NULL), SP_OK);
    job = (struct need_job){.layout = &layout, .workers = 4, .wire = wire, .data_bytes = 5e6, .examples = 1000};
    job.has[NEED_START] = job.has[NEED_SIGN] = job.has[NEED_SGD] = true;
}

static const struct need_row *row(const char *what)
{
    for (unsigned i = 0; i < need.rows; i++)
        if (strcmp(need.row[i].what, what) == 0)
            return &need.row[i];
    return NULL;
}

static void near(const char *what, double start, double sign, double sgd)
{
    const struct need_row *found = row(what);

    ck_assert_msg(found != NULL, "there is no row '%s'", what);
    ck_assert_double_eq_tol(found->bytes[NEED_START], start, 1.0);
    ck_assert_double_eq_tol(found->bytes[NEED_SIGN], sign, 1.0);
    ck_assert_double_eq_tol(found->bytes[NEED_SGD], sgd, 1.0);
}

static double sum(enum need_column column)
{
    double total = 0.0;

    for (unsigned i = 0; i < need.rows; i++)
        total += need.row[i].bytes[column];
    return total;
}

START_TEST(test_server)
{
    begin(SP_WIRE_F32);
    need_of_server(&job, &need);
    ck_assert_int_eq(NEED_WINDOW, SP_TALLY_WINDOW);
    near("weights", 4e6, 4e6, 4e6);
    near("weights as frames, for who joins", 4e6, 0.0, 0.0);
    near("majority of this round and the last", 0.0, 250000.0, 250000.0);
    /* Two chunks of signs: 65536 and 59464 bytes; of values the window is full. */
    near("pushes, 4 chunks a worker", 0.0, 4.0 * 125000.0, 4.0 * 262144.0);
    /* 2 chunks and a COMMIT; 62 of 16384 values. Each frame lies in 73792 bytes. */
    near("updates as frames", 0.0, 3.0 * 73792.0, 63.0 * 73792.0);
    near("values of an update", 0.0, 0.0, 4e6);
    ck_assert_ptr_null(row("vote counts"));
    ck_assert_ptr_null(row("Adam's moments"));
    ck_assert_ptr_null(row("what int8 left out"));
    ck_assert_double_eq(need.checkpoint[NEED_SGD], 0.0);
    ck_assert_double_eq_tol(need_total(&need, NEED_SGD), sum(NEED_SGD), 1.0);
    ck_assert_double_eq_tol(need_most(&job, &need), sum(NEED_SGD), 1.0);
}
END_TEST

/* What a journal and checkpoints add. */
START_TEST(test_kept)
{
    double without;

    begin(SP_WIRE_F32);
    need_of_server(&job, &need);
    without = sum(NEED_SGD);
    job.journals = job.checkpoints = true;
    need_of_server(&job, &need);
    near("updates as frames, and for the journal", 0.0, 1.25 * 3.0 * 73792.0, 2.0 * 63.0 * 73792.0);
    ck_assert_double_eq_tol(sum(NEED_SGD), without + 63.0 * 73792.0, 1.0);
    ck_assert_double_eq(need.checkpoint[NEED_START], 4e6);
    ck_assert_double_eq_tol(need_most(&job, &need), sum(NEED_SGD) + 4e6, 1.0);
}
END_TEST

START_TEST(test_wires)
{
    begin(SP_WIRE_I8);
    need_of_server(&job, &need);
    near("what int8 left out", 0.0, 0.0, 4e6);
    near("coded values of an update", 0.0, 0.0, 1e6);
    near("decoded values of a chunk", 0.0, 0.0, 4.0 * 131072.0);
    near("updates as frames", 0.0, 3.0 * 73792.0, 32.0 * 73792.0);
    begin(SP_WIRE_BF16);
    need_of_server(&job, &need);
    near("coded values of an update", 0.0, 0.0, 2e6);
    ck_assert_ptr_null(row("what int8 left out"));
}
END_TEST

/* Memory of the margin phase stays in the SGD phase; without one it counts nowhere. */
START_TEST(test_margin)
{
    begin(SP_WIRE_F32);
    job.has[NEED_MARGIN] = true;
    need_of_server(&job, &need);
    near("vote counts", 0.0, 0.0, 16.0 * 3.0 * 8192.0); /* 4 votes are counted in 3 bits */
    ck_assert_double_eq(row("vote counts")->bytes[NEED_MARGIN], 16.0 * 3.0 * 8192.0);
    ck_assert_double_eq(row("values of an update")->bytes[NEED_MARGIN], 4e6);
    ck_assert_double_eq(row("pushes, 4 chunks a worker")->bytes[NEED_MARGIN], 4.0 * 125000.0);
}
END_TEST

START_TEST(test_adam)
{
    begin(SP_WIRE_F32);
    job.has[NEED_SIGN] = false;
    job.adam = job.checkpoints = job.journals = true;
    need_of_server(&job, &need);
    near("Adam's moments", 0.0, 0.0, 16e6);
    near("gradients, and for the journal", 0.0, 0.0, 16e6);
    ck_assert_ptr_null(row("majority of this round and the last"));
    ck_assert_double_eq(need.checkpoint[NEED_SGD], 12e6);
    ck_assert_double_eq(need.checkpoint[NEED_START], 4e6);
}
END_TEST

START_TEST(test_worker)
{
    begin(SP_WIRE_I8);
    job.activation_bytes = 7e6;
    job.inputs = 100;
    job.batch = 10;
    need_of_worker(&job, &need);
    near("training and test data", 5e6, 5e6, 5e6);
    near("order of the examples", 4000.0, 4000.0, 4000.0);
    near("weights", 4e6, 4e6, 4e6);
    near("momentum", 4e6, 4e6, 4e6);
    near("gradient", 4e6, 4e6, 4e6);
    near("activations of a batch", 7004000.0, 7004000.0, 7004000.0);
    near("majority, staged", 125000.0, 125000.0, 125000.0);
    near("values of an update, staged", 0.0, 0.0, 4e6);
    near("what int8 left out", 0.0, 0.0, 4e6);
    /* The sockets hold the initial weights. Of 31 chunks of a push, a byte each and 4 a block of 256, four are with the
     * server: what is left are 26 whole ones and one of 16960 values, 67 blocks. */
    near("frames that wait for the line", 0.0, 0.0, 26.0 * 33280.0 + 16960.0 + 4.0 * 67.0);
}
END_TEST

/* Larger models do not fit the sockets, and what was taken for the weights serves for pushes. */
START_TEST(test_initial_weights)
{
    struct sp_tensor more = {.name = "more", .dims = 1, .shape = {9000000}};

    begin(SP_WIRE_F32);
    ck_assert_int_eq(sp_layout_add(&layout, &more, NULL), SP_OK);
    need_of_worker(&job, &need);
    near("frames that wait for the line", 35e6, 35e6, 40e6 - 4.0 * 65536.0);
    job.init_file = true;
    need_of_worker(&job, &need);
    near("frames that wait for the line", 0.0, 1.25e6 - 4.0 * 65536.0, 40e6 - 4.0 * 65536.0);
}
END_TEST

START_TEST(test_buffers_and_tensors_in_full)
{
    struct sp_tensor mean = {.name = "mean", .dims = 1, .shape = {500}, .flags = SP_TENSOR_BUFFER};
    const uint8_t traits[] = {SP_TENSOR_FULL};

    begin(SP_WIRE_F32);
    ck_assert_int_eq(sp_layout_add(&layout, &mean, NULL), SP_OK);
    need_of_server(&job, &need);
    near("buffers, and tensors in full", 4000.0, 4000.0, 4000.0);
    sp_layout_set_traits(&layout, traits);
    need_of_server(&job, &need);
    near("buffers, and tensors in full", 4004000.0, 4004000.0, 4004000.0);
    /* A round of signs has values behind them: the window fills. */
    near("pushes, 4 chunks a worker", 0.0, 4.0 * (125000.0 + 2.0 * 65536.0), 4.0 * 262144.0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("need");
    TCase *cases = tcase_create("all");

    tcase_add_test(cases, test_server);
    tcase_add_test(cases, test_kept);
    tcase_add_test(cases, test_wires);
    tcase_add_test(cases, test_margin);
    tcase_add_test(cases, test_adam);
    tcase_add_test(cases, test_worker);
    tcase_add_test(cases, test_initial_weights);
    tcase_add_test(cases, test_buffers_and_tensors_in_full);
    return unit_run(suite, cases);
}
