/* A leveled, tagged log: one line an event, on standard error.
 *
 *     2026-01-02 03:04:05.678 info  peer    worker 2 joined from 127.0.0.1:41234
 *
 * The tag is the subsystem. A line break inside a message is replaced, so that an event stays one line.
 * Not used by libsignpost, which hands its words to its caller.
 */
#pragma once

#include <stdbool.h>

enum sp_log_level { SP_LOG_ERROR, SP_LOG_WARN, SP_LOG_INFO, SP_LOG_DEBUG };

/* The least important level that is still written; the default is SP_LOG_INFO. */
void sp_log_set_level(enum sp_log_level level);

/* Parses "error", "warn", "info" or "debug". Returns false for anything else. */
bool sp_log_level_parse(const char *name, enum sp_log_level *level);

/* Put before each message, e.g. "worker 3"; copied; "" for none. */
void sp_log_set_name(const char *name);

void sp_log(enum sp_log_level level, const char *tag, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define sp_log_error(tag, ...) sp_log(SP_LOG_ERROR, tag, __VA_ARGS__)
#define sp_log_warn(tag, ...) sp_log(SP_LOG_WARN, tag, __VA_ARGS__)
#define sp_log_info(tag, ...) sp_log(SP_LOG_INFO, tag, __VA_ARGS__)
#define sp_log_debug(tag, ...) sp_log(SP_LOG_DEBUG, tag, __VA_ARGS__)
