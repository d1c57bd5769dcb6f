/* Files that tests of readers make, in a folder of their own under /tmp. */
#pragma once

#include <stddef.h>

/* Makes the folder, and removes it with all that is in it when the process ends. */
void files_begin(void);

/* The path of a name in it; one of a few static buffers. */
const char *files_path(const char *name);

/* Always a new file: what an old one held may still be mapped. They return files_path(name). */
const char *files_write(const char *name, const void *bytes, size_t count);
const char *files_write_gzip(const char *name, const void *bytes, size_t count);

/* The whole of a file; returns its size, which must be at most `room`. */
size_t files_read(const char *name, void *bytes, size_t room);
