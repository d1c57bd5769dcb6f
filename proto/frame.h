/* The frame: a fixed header, a small control message (protobuf), then raw bulk bytes. The one place that knows the
 * header's bytes. All numbers are little-endian.
 *
 *      0        4  5  6     8        12       16                24       28       32       36       40
 *      +--------+--+--+-----+--------+--------+-----------------+--------+--------+--------+--------+----------+------+
 *      | "SGNP" |v |ty|flags| round  | control|      first      | count  |  bulk  | bulk   | header | control  | bulk |
 *      |        |  |pe|     |        |  bytes |   coordinate    | coords | bytes  |  CRC   |  CRC   |          |      |
 *      +--------+--+--+-----+--------+--------+-----------------+--------+--------+--------+--------+----------+------+
 *
 * The header CRC covers bytes 0..35 and the control message, and is CRC-32 as of gzip and PNG; the bulk CRC covers the
 * bulk, and is CRC-32C (Castagnoli's polynomial, as of iSCSI), which processors compute faster. Header and control
 * message keep theirs, for a BYE, which every version must understand, has no bulk.
 */
#pragma once

#include "common/error.h"

#include <stdint.h>

#define SP_FRAME_MAGIC "SGNP"
/* Counts every change of the wire. A build with another number meets this one and parts with a reason. */
#ifndef SP_FRAME_VERSION
#define SP_FRAME_VERSION 4
#endif
#define SP_FRAME_HEADER_BYTES 40

/* Limits, checked before anything is allocated or read. */
#define SP_CONTROL_BYTES_MAX (1024u * 1024u)    /* LAYOUT, WELCOME, ANSWER: a layout, a plan, a status */
#define SP_CONTROL_BYTES_SMALL (40u * 1024u)    /* COMMIT may carry a rate and a decay a tensor */
#define SP_CONTROL_BYTES_HANDSHAKE (4u * 1024u) /* what is taken from a stranger */
#define SP_CONTROL_BYTES_TINY 16u               /* UPDATE: a number of votes */
#define SP_BULK_BYTES_MAX (64u * 1024u)

/* X(name, number, control bytes at most, bulk allowed) */
#define SP_FRAME_LIST(X)                                                                                               \
    X(HELLO, 1, SP_CONTROL_BYTES_HANDSHAKE, 0)      /* client: who I am, what I want */                                \
    X(WELCOME, 2, SP_CONTROL_BYTES_MAX, 0)          /* server: your slot, the plan */                                  \
    X(INIT, 3, 0, 0)                                /* server: give the initial weights */                             \
    X(WEIGHTS, 4, SP_CONTROL_BYTES_SMALL, 1)        /* a chunk of weights, either way */                               \
    X(READY, 5, SP_CONTROL_BYTES_SMALL, 0)          /* worker: I hold the weights after that round */                  \
    X(PUSH, 6, SP_CONTROL_BYTES_SMALL, 1)           /* worker: a chunk of signs or values */                           \
    X(UPDATE, 7, SP_CONTROL_BYTES_TINY, 1)          /* server: a chunk of the round's result; provisional */           \
    X(COMMIT, 8, SP_CONTROL_BYTES_SMALL, 0)         /* server: apply the round; what the next one is */                \
    X(EVAL, 9, SP_CONTROL_BYTES_SMALL, 0)           /* server: evaluate the weights after that round */                \
    X(SCORE, 10, SP_CONTROL_BYTES_SMALL, 0)         /* worker: the result of it */                                     \
    X(RESYNC, 11, SP_CONTROL_BYTES_SMALL, 0)        /* worker: my weights differ, send them */                         \
    X(ALIVE, 12, 0, 0)                              /* either way: nothing to say, still here */                       \
    X(BYE, 13, SP_CONTROL_BYTES_HANDSHAKE, 0)       /* either way: the last frame, with a reason */                    \
    X(CHALLENGE, 14, SP_CONTROL_BYTES_HANDSHAKE, 0) /* server: my nonce, and proof that I hold the secret */           \
    X(PROOF, 15, SP_CONTROL_BYTES_HANDSHAKE, 0)     /* client: proof that I hold it too */                             \
    X(LAYOUT, 16, SP_CONTROL_BYTES_MAX, 0)          /* worker: the tensors of the model */                             \
    X(ASK, 17, SP_CONTROL_BYTES_HANDSHAKE, 0)       /* operator: a command */                                          \
    X(ANSWER, 18, SP_CONTROL_BYTES_MAX, 0)          /* server: its answer, JSON */

enum sp_frame_type {
#define SP_FRAME_ENUM(name, number, control, bulk) SP_FRAME_##name = number,
    SP_FRAME_LIST(SP_FRAME_ENUM)
#undef SP_FRAME_ENUM
};

enum sp_frame_flags {
    SP_FRAME_LAST = 1u << 0,    /* PUSH, UPDATE, WEIGHTS: the last chunk */
    SP_FRAME_ABSTAIN = 1u << 1, /* PUSH without bulk: the worker has no part in this chunk and those after it */
    SP_FRAME_FULL = 1u << 2,    /* PUSH, UPDATE: values of tensors that travel in full precision; see proto/chunks.h */
    SP_FRAME_BUFFERS = 1u << 3, /* PUSH, UPDATE, WEIGHTS: values of buffers */
};

struct sp_frame {
    enum sp_frame_type type;
    uint16_t flags;
    uint32_t round;
    uint64_t first; /* range of the bulk: coordinates, or values of the flag's kind; 0, 0 without bulk */
    uint32_t count;
    uint32_t control_bytes;
    uint32_t bulk_bytes;
    uint32_t bulk_crc;
    uint32_t header_crc;
};

/* "PUSH" and so on; "?" for a number that is no type. */
const char *sp_frame_name(unsigned type);

/* Encodes the header, with the CRCs of the control message and the bulk (either may be NULL if its length is 0). */
void sp_frame_encode(const struct sp_frame *frame, const void *control, const void *bulk,
                     uint8_t header[SP_FRAME_HEADER_BYTES]);

/* Decodes and checks all that can be checked without the bytes that follow: magic, version, type, flags, lengths
 * against the type's limits, the range against its bulk. SP_E_PROTOCOL with words otherwise, SP_E_UNSUPPORTED for
 * another version: only BYE is understood from all of them, so that two versions can part with a reason. */
int sp_frame_decode(const uint8_t header[SP_FRAME_HEADER_BYTES], struct sp_frame *frame, struct sp_error *error);

/* SP_E_CORRUPT if header and control message do not match the header CRC. */
int sp_frame_check_control(const uint8_t header[SP_FRAME_HEADER_BYTES], const struct sp_frame *frame,
                           const void *control, struct sp_error *error);

/* SP_E_CORRUPT if the bulk does not match its CRC. */
int sp_frame_check_bulk(const struct sp_frame *frame, const void *bulk, struct sp_error *error);
