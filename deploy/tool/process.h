/* Child processes of the subcommands that start some. */
#pragma once

#include <stddef.h>
#include <uv.h>

/* Where one of our programs lies: beside this one when installed, in the folder `in_build` of a build tree, else
 * wherever PATH finds it. */
void tool_find_program(const char *name, const char *in_build, char *path, size_t bytes);

/* Starts arguments[0], found by PATH unless it has a slash. What it writes is appended to the file `log`; NULL: it
 * writes to our standard error. UV_PROCESS_DETACHED among `flags` keeps a terminal's Ctrl-C away from it. Returns
 * SP_E_MISSING if there is no such program, or another code after words on standard error; the handle is then closing,
 * or was never used. */
int tool_spawn(uv_loop_t *loop, uv_process_t *process, char **arguments, const char *log, unsigned flags,
               uv_exit_cb on_exit);

/* The same, with what it writes going to a descriptor, which stays the caller's. */
int tool_spawn_to(uv_loop_t *loop, uv_process_t *process, char **arguments, int fd, unsigned flags, uv_exit_cb on_exit);

/* The last line of a program's log says why it ended; "" if there is none. Lines with `but` in them, if not NULL, do
 * not count. */
void tool_last_line(const char *path, const char *but, char *line, size_t bytes);

/* The first line of a log that has these words; "" if there is none. */
void tool_line_with(const char *path, const char *words, char *line, size_t bytes);
