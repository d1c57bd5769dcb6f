/* What people see of a running job: the server's status, made into lines of text. No I/O and no clock.
 *
 * view_line.c     a line that grows piece by piece: its columns are measured, foreign text in it is harmless
 * view_words.c    numbers and times in words
 * view_curve.c    the job's curve, and what it looks like in one line
 * view_job.c      sections on the job: head, progress, curves, phase, switch
 * view_traffic.c  sections on its pace: rounds, bytes, the parts of a round
 * view_workers.c  the table of workers
 * view_page.c     what of all this a window has room for
 * view_events.c   the same for those who read lines: one that sums up, and what has changed since the status before
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEW_COLUMNS_MAX 300
#define VIEW_COLUMNS_MIN 20
#define VIEW_LINES_MAX 300
#define VIEW_LINE_BYTES 2048

/* --- view_line.c --- */

/* None of them carries a meaning that the words do not have. */
enum view_style { VIEW_PLAIN, VIEW_STRONG, VIEW_FAINT, VIEW_GOOD, VIEW_ALERT };

struct view_window {
    unsigned columns, lines;
    bool colour; /* styles become escape sequences; else nothing in a line is one */
    bool utf8;   /* as the locale of the process has it; else lines are plain ASCII */
};

struct view_line {
    char text[VIEW_LINE_BYTES]; /* with a NUL */
    size_t bytes;
    unsigned columns, room; /* taken so far, and at most */
    bool colour, utf8;
    bool cut; /* not all found room: the last column says so */
    size_t mark_bytes;
    unsigned mark_columns;
};

void view_line_begin(struct view_line *line, const struct view_window *window);

/* Appends; what is foreign in it, such as a name, may hold anything: of control characters and whatever else does not
 * take columns of its own a '?' is left. */
void view_put(struct view_line *line, enum view_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, cut to so many columns and filled up with blanks to them. */
void view_put_within(struct view_line *line, enum view_style style, unsigned columns, const char *text);

/* Appends the separator and the rest if all of it has room; else nothing, and the result is false. */
bool view_field(struct view_line *line, const char *separator, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Blanks up to this column. */
void view_pad(struct view_line *line, unsigned column);

/* Foreign text for one who prints it himself: made harmless in the same way, and cut to the room in bytes. */
const char *view_clean(const char *text, bool utf8, char *to, size_t bytes);

/* --- view_words.c --- */

double view_number(const json_t *object, const char *key);    /* NAN: there is none */
const char *view_text(const json_t *object, const char *key); /* "": there is none */
bool view_true(const json_t *object, const char *key);

/* These texts are valid until the eighth call after them; of NAN it is "-". */
const char *view_rate(double value);       /* 0.00123 */
const char *view_share(double value);      /* 0 to 1: "71 %", "2.1 %" */
const char *view_ms(double ms);            /* "1.95 ms", "61.2 ms", "1.2 s" */
const char *view_duration(double seconds); /* "35 s", "2 min 3 s", "3 h 12 min", "2 d 3 h" */
const char *view_amount(double bytes);     /* "23.1 MB" */
const char *view_count(double value);      /* "512", "5.3" */
const char *view_small(double value);      /* "0.021" */
const char *view_times(double times);      /* "3.1", "13" */

/* --- view_curve.c --- */

#define VIEW_POINTS_MAX 2048

struct view_point {
    uint32_t first, round; /* what it covers */
    double loss, accuracy; /* NAN: none lies in it */
};

/* All zero: nothing is known yet. */
struct view_curve {
    struct view_point point[VIEW_POINTS_MAX];
    unsigned count;
    double accuracy; /* that view_curve_note() saw last */
};

/* R of the operator's command `series R`, which brings what is missing. */
uint32_t view_curve_from(const struct view_curve *curve);

/* Takes an answer of it. */
void view_curve_take(struct view_curve *curve, const json_t *answer);

/* Takes what a status says, for a server that does not know that command. */
void view_curve_note(struct view_curve *curve, const json_t *status);

/* Forgets all that lies after a round: the server was started again, and goes on from an earlier one. */
void view_curve_cut(struct view_curve *curve, uint32_t round);

/* Appends a picture of the later half of the rounds (of few points, of more), at most `columns` wide; the loss by its
 * logarithm. Returns the first round in it, 0 if there is none. */
uint32_t view_curve_draw(const struct view_curve *curve, bool loss, unsigned columns, struct view_line *line);

/* --- view_page.c --- */

struct view {
    const json_t *status;           /* NULL: none yet */
    const struct view_curve *curve; /* NULL: none */
    const char *trouble;            /* of the connection to the server; NULL: none */
};

struct view_page {
    struct view_window window;
    struct view_line line[VIEW_LINES_MAX];
    unsigned char rank[VIEW_LINES_MAX]; /* the higher, the sooner it is given up */
    unsigned count;
    bool roomy, folds; /* blank lines stand between sections; long words go on in a second line */
};

/* Fills the page: at most window->lines lines of at most window->columns columns. */
void view_render(const struct view *view, const struct view_window *window, struct view_page *page);

/* For the sections. The next line, empty; never NULL. */
struct view_line *view_add(struct view_page *page, unsigned rank);
/* The next line, with a label. */
struct view_line *view_add_labelled(struct view_page *page, unsigned rank, const char *label);
/* One or more lines of words. */
void view_add_words(struct view_page *page, unsigned rank, enum view_style style, const char *label, const char *words);
void view_add_blank(struct view_page *page);

enum {
    VIEW_RANK_HEAD,
    VIEW_RANK_PROGRESS,
    VIEW_RANK_TROUBLE,
    VIEW_RANK_LOSS,
    VIEW_RANK_WORKERS,
    VIEW_RANK_ACCURACY,
    VIEW_RANK_SWITCH,
    VIEW_RANK_PHASE,
    VIEW_RANK_PACE,
    VIEW_RANK_ROUND,
    VIEW_RANK_BYTES,
    VIEW_RANK_NOTE,
    VIEW_RANK_BLANK
};

/* --- sections --- */

void view_job_head(struct view_page *page, const struct view *view);
void view_job_curves(struct view_page *page, const struct view *view);
void view_job_phase(struct view_page *page, const json_t *status);
/* What has the switch to say: a static text; "" if the server says nothing of it. */
const char *view_switch_words(const json_t *status);
void view_traffic(struct view_page *page, const json_t *status);
void view_warnings(struct view_page *page, const json_t *status);
/* "23.1 MB sent, float32 would be 312 MB: 13 times less". */
void view_saved(struct view_line *line, const json_t *status);
/* "1.95 ms = 1.5 waiting + 0.3 tally + 0.15 sending". */
void view_round_parts(struct view_line *line, const json_t *pace);

/* --- view_workers.c --- */

#define VIEW_SLOTS_MAX 255

/* Where the slowest stands among those that have a latency. */
struct view_slowest {
    int slot; /* -1: none stands out */
    double times, latency_ms;
};

struct view_slowest view_slowest(const json_t *slots, bool over);
void view_workers_head(struct view_page *page, const json_t *status, bool table_follows);
/* The table, in at most so many lines, at least 2. */
void view_workers_table(struct view_page *page, const json_t *status, unsigned lines);
/* Lines that the whole table takes. */
unsigned view_workers_lines(const json_t *status);
const char *view_state(const json_t *slot);

/* --- view_events.c --- */

/* The job in one line. */
void view_sum_up(const json_t *status, struct view_line *line);

/* Calls `say` with each event between two states; `before` may be NULL. */
void view_events(const json_t *before, const json_t *after, void (*say)(void *arg, const char *words), void *arg);
