/* Certificates for unit tests, in a temporary folder: "one" and "two" hold what deploy/make-certs.sh makes, each with a
 * CA of its own; beside them lie rsa.key, encrypted.key and expired.crt (of rsa.key). */
#pragma once

#include "common/tls.h"

#include <sys/types.h>

/* Once, in main(), before the tests; and after them. */
void tls_made_begin(void);
void tls_made_end(void);

/* The names are of that folder. */
void tls_made_paths(struct sp_tls_paths *paths, const char *cert, const char *key, const char *ca);
struct sp_tls_files *tls_made_files_of(enum sp_tls_side side, const char *cert, const char *key, const char *ca);
/* FOLDER/WHO.crt, its key, and FOLDER/ca.crt. */
struct sp_tls_files *tls_made_files(enum sp_tls_side side, const char *folder, const char *who);
void tls_made_write(const char *name, const char *content, mode_t mode);
/* A file of two files. */
void tls_made_join(const char *name, const char *first, const char *second);
