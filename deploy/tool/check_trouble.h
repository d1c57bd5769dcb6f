/* Why a server would not let a worker in, in words: what it is, and what to do. */
#pragma once

#include "deploy/tool/line.h"

#define CHECK_WORDS_BYTES 2048

/* `line` is as a failure of line_open(), line_greet() or line_read() left it, `error` what that said. */
void check_trouble(const struct line *line, const struct sp_error *error, char *words, size_t bytes);
