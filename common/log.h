/* A leveled, tagged log: one line an event, on standard error.
 *
 *     2026-01-02 03:04:05.678 info  peer    worker 2 joined from 127.0.0.1:41234
 *
 * or, in JSON, with "name" only if one is set:
 *
 *     {"time":"2026-01-02T03:04:05.678+00:00","level":"info","tag":"peer","message":"worker 2 joined from ..."}
 *
 * The tag is the subsystem. A line break inside a message is replaced (JSON: escaped), so that an event stays one line.
 *
 * A message that was written in the last SP_LOG_REPEAT_MS with the same level and tag is counted instead of written.
 * How often it came again is said when another message takes its place, with the first event after that time, or at
 * exit. With SP_LOG_DEBUG as the level all are written.
 *
 * Any thread may log. Not used by libsignpost, which hands its words to its caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SP_LOG_REPEAT_MS 10000u
#define SP_LOG_LINE_BYTES_MAX 2048      /* of a line of text, and of a message in JSON before it is escaped */
#define SP_LOG_JSON_LINE_BYTES_MAX 4096 /* what a pipe takes in one piece */

enum sp_log_level { SP_LOG_ERROR, SP_LOG_WARN, SP_LOG_INFO, SP_LOG_DEBUG };
enum sp_log_format { SP_LOG_TEXT, SP_LOG_JSON };

/* The least important level that is still written; the default is SP_LOG_INFO. */
void sp_log_set_level(enum sp_log_level level);

/* Parses "error", "warn", "info" or "debug". Returns false for anything else. */
bool sp_log_level_parse(const char *name, enum sp_log_level *level);

/* The default is SP_LOG_TEXT. */
void sp_log_set_format(enum sp_log_format format);
enum sp_log_format sp_log_format(void);

/* Parses "text" or "json". Returns false for anything else. */
bool sp_log_format_parse(const char *name, enum sp_log_format *format);

/* Put before each message, e.g. "worker 3"; copied; "" for none. */
void sp_log_set_name(const char *name);

void sp_log(enum sp_log_level level, const char *tag, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Says what is counted and not yet said; done at exit, too. */
void sp_log_flush(void);

/* For tests: what tells the time, in ms, by which repeated messages are held back; NULL: the system's monotonic clock.
 */
void sp_log_set_clock(uint64_t (*now_ms)(void));

#define sp_log_error(tag, ...) sp_log(SP_LOG_ERROR, tag, __VA_ARGS__)
#define sp_log_warn(tag, ...) sp_log(SP_LOG_WARN, tag, __VA_ARGS__)
#define sp_log_info(tag, ...) sp_log(SP_LOG_INFO, tag, __VA_ARGS__)
#define sp_log_debug(tag, ...) sp_log(SP_LOG_DEBUG, tag, __VA_ARGS__)
