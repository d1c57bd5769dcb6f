#include "deploy/tool/bench_arguments.h"

#include "common/cli.h"
#include "deploy/tool/bench_advice.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_ROUNDS = 256,
    KEY_WARMUP,
    KEY_PHASE,
    KEY_WIRE,
    KEY_COMPUTE,
    KEY_DITHER,
    KEY_PROCESSES,
    KEY_SPARES,
    KEY_LISTEN,
    KEY_HTTP,
    KEY_TLS,
    KEY_SERVER_PREFIX,
    KEY_WORKER_PREFIX,
    KEY_TIMEOUT,
    KEY_ADVISE,
    KEY_LINK,
    KEY_SERVER_LINK,
    KEY_GRADIENT,
    KEY_JSON,
    KEY_KEEP,
};

static const struct argp_option options_list[] = {
    {"workers", 'w', "M", 0, "Workers, 1 to 255; default 4", 1},
    {"params", 'p', "D", 0, "Parameters of the model, such as 1e7; default 1e6", 1},
    {"rounds", KEY_ROUNDS, "R", 0, "Rounds to measure; default: some 5 s of them", 1},
    {"warmup", KEY_WARMUP, "W", 0, "Rounds before them that do not count; default 5", 1},
    {"phase", KEY_PHASE, "sign|margin|sgd", 0, "What is pushed and sent back; default sign", 1},
    {"wire", KEY_WIRE, "f32|bf16|i8", 0, "How values travel with --phase sgd; default f32", 1},
    {"compute", KEY_COMPUTE, "on|off", 0, "on (default): all from momentum to weights; off: the exchange alone", 1},
    {"dither", KEY_DITHER, "SIGMA0", 0, "Noise before the sign; default 1, 0 is none", 1},
    {"spares", KEY_SPARES, "S", 0, "Spare workers that are connected; default 0", 2},
    {"processes", KEY_PROCESSES, "N", 0, "Processes that hold workers; default: one a core", 2},
    {"tls", KEY_TLS, "FOLDER", 0, "TLS, with the certificates of this folder (deploy/make-certs.sh makes them)", 2},
    {"listen", KEY_LISTEN, "HOST:PORT", 0, "Where the server listens; default: loopback", 2},
    {"http", KEY_HTTP, "HOST:PORT", 0, "Serve the dashboard there; default: none", 2},
    {"server-prefix", KEY_SERVER_PREFIX, "WORDS", 0,
     "Put before the server's command, such as 'ip netns exec sp-h1'; %d is 1", 2},
    {"worker-prefix", KEY_WORKER_PREFIX, "WORDS", 0,
     "Put before the command of load process i, with i + 2 for %d, such as 'ip netns exec sp-h%d'", 2},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "How long nothing may go on; default 60 and what the weights take at 5 MB/s",
     2},
    {"advise", KEY_ADVISE, NULL, 0, "Say whether compression pays on given links", 3},
    {"link", KEY_LINK, "RATE", 0, "With --advise: each worker's, such as 100mbit", 3},
    {"server-link", KEY_SERVER_LINK, "RATE", 0, "The server's; default: the same", 3},
    {"gradient", KEY_GRADIENT, "MS", 0, "Time of a gradient; default: 10, 100, 1000 ms", 3},
    {"json", KEY_JSON, NULL, 0, "One JSON object instead of the table", 4},
    {"keep", KEY_KEEP, NULL, 0, "Keep the folder with job file, logs and results", 4},
    {0}};

unsigned bench_cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1u;
}

/* A number from `least` to `most`; whole, even if it is written as 1e7. */
static double take_number(const char *text, double least, double most, bool whole, const char *option,
                          struct argp_state *state)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most) || (whole && value != floor(value)))
        argp_error(state, "--%s takes a %snumber from %.9g to %.9g, not '%s'", option, whole ? "whole " : "", least,
                   most, text);
    return value;
}

static uint32_t take_count(const char *text, uint32_t least, uint32_t most, const char *option,
                           struct argp_state *state)
{
    return (uint32_t)take_number(text, least, most, true, option, state);
}

/* The index of one of some words. */
static int take_word(const char *text, const char *const words[], int count, const char *option,
                     struct argp_state *state)
{
    char all[64] = "";
    size_t used = 0;

    for (int i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return i;
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? " or "
                                                  : ", ",
                                 words[i]);
    }
    argp_error(state, "--%s is %s, not '%s'", option, all, text);
    return 0;
}

static double take_rate(const char *text, const char *option, struct argp_state *state)
{
    double rate = advice_rate(text);

    if (rate < 1e3 || rate > 1e15)
        argp_error(state, "--%s takes a rate such as 1gbit or 100mbit, not '%s'", option, text);
    return rate;
}

static error_t parse_advice(int key, char *value, struct argp_state *state)
{
    struct bench_options *o = state->input;

    switch (key) {
    case KEY_ADVISE:
        o->advise = true;
        break;
    case KEY_LINK:
        o->link = take_rate(value, "link", state);
        break;
    case KEY_SERVER_LINK:
        o->server_link = take_rate(value, "server-link", state);
        break;
    case KEY_GRADIENT:
        o->gradient_ms = take_number(value, 1e-3, 1e9, false, "gradient", state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void check(struct bench_options *o, struct argp_state *state)
{
    unsigned cores = bench_cores();

    if (o->processes == 0)
        o->processes = o->workers < cores ? o->workers : cores;
    if (o->processes > o->workers)
        argp_error(state, "--processes %u is more than the %u workers", o->processes, o->workers);
    if (o->rounds == 0 && o->warmup == 0)
        argp_error(state, "without warm-up rounds say how many --rounds to measure");
    if (o->wire != SP_WIRE_F32 && o->phase != SP_PHASE_SGD)
        argp_error(state, "--wire belongs to --phase sgd; signs take a bit each");
    if (o->tls != NULL && o->spares > 0)
        argp_error(state, "--spares and --tls do not go together");
    if (o->worker_prefix != NULL &&
        (o->listen == NULL || strncmp(o->listen, "127.", 4) == 0 || strncmp(o->listen, "0.0.0.0:", 8) == 0))
        argp_error(state, "with --worker-prefix, --listen has to be an address that the workers can reach");
    if (!o->advise && (o->link > 0.0 || o->server_link > 0.0 || o->gradient_ms > 0.0))
        argp_error(state, "--link, --server-link and --gradient belong to --advise");
    if (o->advise && o->link == 0.0)
        argp_error(state, "--advise needs --link, such as 1gbit");
    if (o->advise && o->workers < 2)
        argp_error(state, "a single worker has nobody to exchange gradients with");
}

static error_t parse_place(int key, char *value, struct argp_state *state)
{
    struct bench_options *o = state->input;

    switch (key) {
    case KEY_SPARES:
        o->spares = take_count(value, 0, BENCH_SPARES_MAX, "spares", state);
        break;
    case KEY_PROCESSES:
        o->processes = take_count(value, 1, BENCH_PROCESSES_MAX, "processes", state);
        break;
    case KEY_LISTEN:
        o->listen = value;
        break;
    case KEY_HTTP:
        o->http = value;
        break;
    case KEY_TLS:
        o->tls = value;
        break;
    case KEY_SERVER_PREFIX:
        o->server_prefix = value;
        break;
    case KEY_WORKER_PREFIX:
        o->worker_prefix = value;
        break;
    case KEY_TIMEOUT:
        o->patience_s = take_number(value, 0.1, 1e6, false, "timeout", state);
        break;
    case KEY_JSON:
        o->json = true;
        break;
    case KEY_KEEP:
        o->keep = true;
        break;
    default:
        return parse_advice(key, value, state);
    }
    return 0;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    static const char *const phases[] = {"sign", "sgd", "margin"}; /* as enum sp_phase has them */
    static const char *const wires[] = {"f32", "bf16", "i8"};      /* as enum sp_wire has them */
    static const char *const switches[] = {"off", "on"};
    struct bench_options *o = state->input;

    switch (key) {
    case 'w':
        o->workers = take_count(value, 1, SP_WORKERS_MAX, "workers", state);
        break;
    case 'p':
        o->params = (uint64_t)take_number(value, 1, (double)SP_COORDINATES_MAX, true, "params", state);
        break;
    case KEY_ROUNDS:
        o->rounds = take_count(value, 1, BENCH_ROUNDS_MAX, "rounds", state);
        break;
    case KEY_WARMUP:
        o->warmup = take_count(value, 0, BENCH_WARMUP_MAX, "warmup", state);
        break;
    case KEY_PHASE:
        o->phase = (enum sp_phase)take_word(value, phases, 3, "phase", state);
        break;
    case KEY_WIRE:
        o->wire = (enum sp_wire)take_word(value, wires, 3, "wire", state);
        break;
    case KEY_COMPUTE:
        o->compute = take_word(value, switches, 2, "compute", state) == 1;
        break;
    case KEY_DITHER:
        o->sigma = take_number(value, 0.0, 1e6, false, "dither", state);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument -- '%s'", value);
        break;
    case ARGP_KEY_END:
        check(o, state);
        break;
    default:
        return parse_place(key, value, state);
    }
    return 0;
}

int bench_arguments(struct bench_options *options, int argc, char **argv)
{
    static const struct argp argp = {
        options_list,
        parse,
        NULL,
        "Measures rounds on this machine: one server, and processes full of workers with made gradients, over the real "
        "protocol. Prints the time of a round, what it costs in processor time, bytes and memory." SP_CLI_EXAMPLE
        "signpost bench --workers 4 --params 1e7",
        NULL,
        NULL,
        NULL};

    *options = (struct bench_options){.workers = 4,
                                      .params = 1000000,
                                      .warmup = 5,
                                      .phase = SP_PHASE_SIGN,
                                      .wire = SP_WIRE_F32,
                                      .sigma = 1.0,
                                      .compute = true};
    return argp_parse(&argp, argc, argv, 0, NULL, options) == 0 ? SP_EXIT_DONE : SP_EXIT_USAGE;
}
