/* Messages for the tests of the codec: random ones, the largest ones, and whether two are the same. */
#pragma once

#include "proto/codec.h"
#include "unit.h"

/* A message that its owner frees with sp_message_finish(). `extreme`: as many and as large things as a frame may hold.
 */
void codec_make(struct sp_message *message, enum sp_frame_type type, struct sp_rng *rng, bool extreme);

/* Every field, floats bit for bit. */
void codec_expect_same(const struct sp_message *a, const struct sp_message *b);

/* Bulk bytes that a frame of this type may have. */
size_t codec_bulk_max(enum sp_frame_type type);

/* Decodes a whole frame as a reader does: header, checksums, control message. */
int codec_decode_frame(const struct sp_buffer *buffer, struct sp_message *message, struct sp_error *error);

/* Decodes control bytes from a block with not a byte to spare. */
int codec_decode(struct sp_message *message, enum sp_frame_type type, unsigned flags, const void *control, size_t bytes,
                 struct sp_error *error);

/* Control messages written by hand, by the protobuf encoding's own rules. */
struct codec_bytes {
    uint8_t data[1u << 17];
    size_t used;
};

void codec_put_uint(struct codec_bytes *out, unsigned field, uint64_t value);
void codec_put_fixed64(struct codec_bytes *out, unsigned field, uint64_t value);
void codec_put_double(struct codec_bytes *out, unsigned field, double value);
void codec_put_float(struct codec_bytes *out, unsigned field, float value);
void codec_put_bytes(struct codec_bytes *out, unsigned field, const void *bytes, size_t count);
void codec_put_text(struct codec_bytes *out, unsigned field, const char *text);
void codec_put_varint(struct codec_bytes *out, uint64_t value);
