/* signpost check --connect: goes a worker's way into a job as far as the server lets a probe go (proto/README.md), and
 * says what it met with. */
#include "common/cli.h"
#include "deploy/tool/check.h"
#include "deploy/tool/check_trouble.h"
#include "deploy/tool/line.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLOCK_SECONDS_MAX 2.0 /* a difference that nobody needs to hear of */

struct probe {
    const struct sp_job *job;
    const struct check_model *model;
    char token_file[2 * SP_STRING_BYTES];
    struct sp_tls_paths paths;
    struct tool_remote remote;
    struct line line;
    double asked, answered; /* seconds of this machine's clock */
    double round_trip_ms;
    json_t *answer; /* owned */
};

static double seconds_of(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void set_up(struct probe *probe, const char *server)
{
    const struct sp_job *job = probe->job;
    struct tool_remote *remote = &probe->remote;

    remote->server = server;
    sp_job_path(job, job->security.token_file, probe->token_file, sizeof probe->token_file);
    if (probe->token_file[0] != '\0')
        remote->token_file = probe->token_file;
    if (!sp_job_tls_paths(job, &probe->paths))
        return;
    remote->cert = probe->paths.cert;
    remote->key = probe->paths.key;
    remote->ca = probe->paths.ca;
    remote->name = job->security.tls.name[0] != '\0' ? job->security.tls.name : NULL;
}

static int greet(struct probe *probe, struct sp_error *error)
{
    const struct check_model *model = probe->model;
    struct sp_hello hello = {.role = SP_ROLE_PROBE, .wanted_slot = SP_ANY_SLOT};

    (void)snprintf(hello.job, sizeof hello.job, "%s", probe->job->job);
    if (model->known) {
        hello.layout_digest = model->layout_digest;
        hello.examples = model->examples;
        hello.test_examples = model->test_examples;
        hello.data_digest = model->data_digest;
    }
    return line_greet(&probe->line, &hello, error);
}

/* The layout, if it is known, and what the server says to all of it. */
static int ask(struct probe *probe, struct sp_error *error)
{
    struct sp_message layout = {.frame = {.type = SP_FRAME_LAYOUT}};
    struct sp_message answer = {.frame = {.type = SP_FRAME_ANSWER}};
    struct sp_error late = {0};
    double began;
    int rc = SP_OK, sent;

    layout.layout = probe->model->layout; /* borrowed */
    probe->asked = seconds_of(CLOCK_REALTIME);
    began = seconds_of(CLOCK_MONOTONIC);
    sent = probe->model->known ? line_send(&probe->line, &layout, &late) : SP_OK;
    rc = line_read(&probe->line, SP_FRAME_ANSWER, &answer, error); /* who hung up may have said why before */
    probe->round_trip_ms = 1e3 * (seconds_of(CLOCK_MONOTONIC) - began);
    probe->answered = seconds_of(CLOCK_REALTIME);
    if (rc == SP_OK && sent == SP_OK)
        probe->answer = json_loads(answer.answer, 0, NULL);
    sp_message_finish(&answer);
    if (rc == SP_OK && probe->answer == NULL)
        rc = sp_error_set(error, SP_E_PROTOCOL, "the answer of %s is not JSON", probe->line.server);
    return rc;
}

/* --- words -----------------------------------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *answer, const char *key)
{
    const char *text = json_string_value(json_object_get(answer, key));

    return text != NULL ? text : "?";
}

static long long number_of(const json_t *answer, const char *key)
{
    return (long long)json_integer_value(json_object_get(answer, key));
}

static void say_slot(const struct probe *probe)
{
    const json_t *answer = probe->answer;
    long long slot = number_of(answer, "slot");

    (void)printf("would be let in%s: slots %lld of %lld taken, ", slot < 0 ? " as a spare" : "",
                 number_of(answer, "taken"), number_of(answer, "workers"));
    if (slot >= 0)
        (void)printf("it would get slot %lld\n", slot);
    else
        (void)printf("it would wait for one that is given up\n");
}

static void say_progress(const struct probe *probe)
{
    const json_t *answer = probe->answer;

    (void)printf("  signpost %s, job '%s', ", text_of(answer, "version"), text_of(answer, "job"));
    if (number_of(answer, "rounds") == 0)
        (void)printf("nobody has joined yet");
    else if (!json_is_true(json_object_get(answer, "started")))
        (void)printf("%lld rounds, not started yet, %s phase first", number_of(answer, "rounds"),
                     text_of(answer, "phase"));
    else
        (void)printf("round %lld of %lld, %s phase", number_of(answer, "round"), number_of(answer, "rounds"),
                     text_of(answer, "phase"));
    (void)printf("; round trip %.1f ms\n", probe->round_trip_ms);
}

static void say_compared(const struct probe *probe)
{
    if (json_is_true(json_object_get(probe->answer, "compared")))
        (void)printf("  model and data are those of the job\n");
    else if (!probe->model->known)
        (void)printf("  the model was not compared: without data of its own this job file does not say what it is\n");
    else
        (void)printf("  the model was not compared: the server knows of none before its first worker\n");
}

static void say_clocks(const struct probe *probe)
{
    double theirs = json_number_value(json_object_get(probe->answer, "time"));
    double ahead = theirs - (probe->asked + probe->answered) / 2.0;

    if (theirs > 0.0 && fabs(ahead) > CLOCK_SECONDS_MAX)
        (void)printf("  its clock is %.1f s %s this machine's: certificates and logs go by them\n", fabs(ahead),
                     ahead > 0.0 ? "ahead of" : "behind");
}

int check_connect(const struct sp_job *job, const struct check_model *model, const char *server)
{
    struct probe probe = {.job = job, .model = model, .line = {.fd = -1}};
    struct sp_error error = {0};
    char words[CHECK_WORDS_BYTES];
    int rc;

    (void)printf("\n%s: ", server);
    (void)fflush(stdout); /* the name's resolver may take its time */
    set_up(&probe, server);
    rc = line_open(&probe.line, &probe.remote, &error);
    if (rc == SP_OK)
        rc = greet(&probe, &error);
    if (rc == SP_OK)
        rc = ask(&probe, &error);
    if (rc == SP_OK) {
        say_slot(&probe);
        say_progress(&probe);
        say_compared(&probe);
        say_clocks(&probe);
    } else {
        check_trouble(&probe.line, &error, words, sizeof words);
        (void)printf("would NOT be let in\n");
        (void)fflush(stdout);
        (void)sp_cli_fail(TOOL, words);
    }
    json_decref(probe.answer);
    line_close(&probe.line);
    return rc == SP_OK ? SP_EXIT_DONE : SP_EXIT_FAILED;
}
