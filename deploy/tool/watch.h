/* signpost watch, inside. */
#pragma once

#include "deploy/tool/asker.h"
#include "deploy/tool/terminal.h"

struct watch {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[5];
    struct tool_asking asking;
    char folder[1200]; /* of a run on this machine */
    unsigned every_s;
    bool plain, utf8;
    struct tool_asker asker;
    struct tool_watched watched;
    uint64_t drawn_ms, lost_ms; /* the latter: since when there is no answer; 0: there is one */
    char lost_at[16], trouble[800];
    bool resized;
    int ended_by; /* a signal; 0: none */
    bool over;    /* the job is */
    int exit_code;
    struct terminal terminal;
    struct view_page page;
};

/* --- watch_words.c --- */

/* A line on standard output with the time of day before it; for plain lines. */
void watch_say(void *watch, const char *words);

/* The job in one line. */
void watch_say_state(struct watch *watch);

/* No answer came: says what is waited for, and since when. */
void watch_say_trouble(struct watch *watch, uint64_t now_ms);

/* Whether it is known, now that there is no answer, that the job is over. */
bool watch_job_is_over(const struct watch *watch, uint64_t now_ms);

/* What has become of the job. An exit code. */
int watch_say_result(const struct watch *watch);
