/* signpost plot, inside: what its files share. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PLOT_RUNS_MAX 24               /* more lines cannot be told apart */
#define PLOT_POINTS_MAX (1u << 22)     /* reports of a run */
#define PLOT_LINE_BYTES_MAX (1u << 24) /* of a history; a decision has a rate for each tensor */
#define PLOT_SWITCHES_MAX 8            /* of a run: more than a job makes */
#define PLOT_PATH_BYTES 1300

enum plot_axis { PLOT_ROUND, PLOT_EPOCH, PLOT_SECONDS, PLOT_BYTES, PLOT_AXES };

/* A report of the history; NAN: it does not say. */
struct plot_point {
    double x[PLOT_AXES]; /* bytes: pushed and updated */
    double loss;         /* mean over the rounds since the point before */
    double accuracy;     /* in percent */
    double gamma, lambda;
};

struct plot_run {
    const char *argument;
    char folder[PLOT_PATH_BYTES];
    const char *name; /* the end of `folder`, as long as it takes to tell it from the others; owned by `folder` */
    struct plot_point *points; /* owned */
    size_t count;
    double switches[PLOT_SWITCHES_MAX]; /* the rounds after which the phase changed */
    unsigned switches_count;
};

struct plot {
    struct plot_run runs[PLOT_RUNS_MAX];
    size_t runs_count;
    enum plot_axis axis;
    const char *out; /* ends with .svg or .png */
    bool png;
};

/* Reads FOLDER/history.jsonl. Errors name file and line: SP_E_MISSING: there is none, or it has no report; SP_E_SYNTAX.
 */
int plot_read(struct plot_run *run, struct sp_error *error);

/* Gives the runs their names. The same folder twice is SP_E_RANGE. */
int plot_name(struct plot *plot, struct sp_error *error);

/* Writes what gnuplot makes the picture by, which it calls `picture`. */
void plot_script(FILE *file, const struct plot *plot, const char *picture);
