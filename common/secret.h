/* A shared secret: bytes that the server and those who may join hold, and nobody else.
 *
 * Its file holds either hexadecimal digits (white space at both ends is left out; an even number, at least 64), which
 * stand for the secret's bytes, as `signpost token` writes it; or, if it holds anything else, the secret's bytes
 * themselves, all of them. Either way 32 to 1024 bytes.
 */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define SP_SECRET_BYTES_MIN 32
#define SP_SECRET_BYTES_MAX 1024
#define SP_SECRET_FILE_BYTES_MAX 4096

struct sp_secret {
    size_t bytes; /* 0: there is none */
    uint8_t data[SP_SECRET_BYTES_MAX];
};

/* Reads a secret's file. Refuses one that other users may read or change, or that the group may change. */
int sp_secret_load(struct sp_secret *secret, const char *path, struct sp_error *error);

/* Of an open file: SP_E_RANGE if others may read or change what it holds, SP_E_IO if it is no file. */
int sp_secret_check_file(int fd, const char *path, struct sp_error *error);

/* The secret that a file's bytes hold; `path` is for the words only. */
int sp_secret_parse(struct sp_secret *secret, const uint8_t *file, size_t bytes, const char *path,
                    struct sp_error *error);

/* Overwrites it. */
void sp_secret_forget(struct sp_secret *secret);

/* Fresh random bytes of the system: nonces, tickets, secrets. SP_E_IO with words if it has none. */
int sp_random_bytes(void *out, size_t bytes, struct sp_error *error);
