#include "proto/frame.h"

#include "common/bytes.h"
#include "common/check.h"
#include "common/layout.h"

#include <isa-l/crc.h>
#include <string.h>

#define HEADER_CRC_AT 36

struct limits {
    const char *name;
    uint32_t control_bytes_max;
    int bulk;
};

static const struct limits limits[] = {
#define FRAME_LIMITS(name, number, control, bulk) [number] = {#name, control, bulk},
    SP_FRAME_LIST(FRAME_LIMITS)
#undef FRAME_LIMITS
};

#define TYPES (sizeof limits / sizeof limits[0])

const char *sp_frame_name(unsigned type)
{
    return type < TYPES && limits[type].name != NULL ? limits[type].name : "?";
}

static uint32_t header_crc(const uint8_t header[SP_FRAME_HEADER_BYTES], const void *control, uint32_t control_bytes)
{
    uint32_t crc = crc32_gzip_refl(0, header, HEADER_CRC_AT);

    return control_bytes > 0 ? crc32_gzip_refl(crc, control, control_bytes) : crc;
}

void sp_frame_encode(const struct sp_frame *frame, const void *control, const void *bulk,
                     uint8_t header[SP_FRAME_HEADER_BYTES])
{
    sp_assert(frame->type < TYPES && frame->control_bytes <= limits[frame->type].control_bytes_max);
    sp_assert(frame->bulk_bytes <= SP_BULK_BYTES_MAX);
    memcpy(header, SP_FRAME_MAGIC, 4);
    header[4] = SP_FRAME_VERSION;
    header[5] = (uint8_t)frame->type;
    sp_put16(header + 6, frame->flags);
    sp_put32(header + 8, frame->round);
    sp_put32(header + 12, frame->control_bytes);
    sp_put64(header + 16, frame->first);
    sp_put32(header + 24, frame->count);
    sp_put32(header + 28, frame->bulk_bytes);
    sp_put32(header + 32, sp_crc32c(bulk, frame->bulk_bytes));
    sp_put32(header + HEADER_CRC_AT, header_crc(header, control, frame->control_bytes));
}

static int check_start(const uint8_t *header, struct sp_error *error)
{
    if (memcmp(header, SP_FRAME_MAGIC, 4) != 0)
        return sp_error_set(error, SP_E_PROTOCOL,
                            "not a Signpost frame: it starts with bytes %02x %02x %02x %02x, not \"%s\"", header[0],
                            header[1], header[2], header[3], SP_FRAME_MAGIC);
    if (header[4] != SP_FRAME_VERSION && header[5] != SP_FRAME_BYE)
        return sp_error_set(error, SP_E_UNSUPPORTED,
                            "the other side speaks version %u of Signpost's protocol, this one version %d; install the "
                            "same release of Signpost on both",
                            header[4], SP_FRAME_VERSION);
    if (header[5] >= TYPES || limits[header[5]].name == NULL)
        return sp_error_set(error, SP_E_PROTOCOL, "unknown frame type %u", header[5]);
    return SP_OK;
}

static int check_limits(const struct sp_frame *frame, struct sp_error *error)
{
    const struct limits *limit = &limits[frame->type];

    if ((frame->flags & ~(SP_FRAME_LAST | SP_FRAME_ABSTAIN | SP_FRAME_FULL | SP_FRAME_BUFFERS)) != 0)
        return sp_error_set(error, SP_E_PROTOCOL, "%s frame with unknown flags 0x%04x", limit->name, frame->flags);
    if (frame->control_bytes > limit->control_bytes_max)
        return sp_error_set(error, SP_E_PROTOCOL, "%s frame with %u control bytes; at most %u are allowed", limit->name,
                            frame->control_bytes, limit->control_bytes_max);
    if (frame->bulk_bytes > (limit->bulk ? SP_BULK_BYTES_MAX : 0))
        return sp_error_set(error, SP_E_PROTOCOL, "%s frame with %u bulk bytes; at most %u are allowed", limit->name,
                            frame->bulk_bytes, limit->bulk ? SP_BULK_BYTES_MAX : 0);
    if ((frame->count == 0) != (frame->bulk_bytes == 0))
        return sp_error_set(error, SP_E_PROTOCOL, "%s frame with %u coordinates in %u bulk bytes", limit->name,
                            frame->count, frame->bulk_bytes);
    if (frame->first > SP_COORDINATES_MAX || frame->count > SP_COORDINATES_MAX - frame->first)
        return sp_error_set(error, SP_E_PROTOCOL, "%s frame with a coordinate range beyond %llu", limit->name,
                            (unsigned long long)SP_COORDINATES_MAX);
    return SP_OK;
}

int sp_frame_decode(const uint8_t header[SP_FRAME_HEADER_BYTES], struct sp_frame *frame, struct sp_error *error)
{
    int rc = check_start(header, error);

    if (rc != SP_OK)
        return rc;
    frame->type = (enum sp_frame_type)header[5];
    frame->flags = sp_get16(header + 6);
    frame->round = sp_get32(header + 8);
    frame->control_bytes = sp_get32(header + 12);
    frame->first = sp_get64(header + 16);
    frame->count = sp_get32(header + 24);
    frame->bulk_bytes = sp_get32(header + 28);
    frame->bulk_crc = sp_get32(header + 32);
    frame->header_crc = sp_get32(header + HEADER_CRC_AT);
    return check_limits(frame, error);
}

int sp_frame_check_control(const uint8_t header[SP_FRAME_HEADER_BYTES], const struct sp_frame *frame,
                           const void *control, struct sp_error *error)
{
    if (header_crc(header, control, frame->control_bytes) != frame->header_crc)
        return sp_error_set(error, SP_E_CORRUPT, "%s frame: the checksum of its header does not match",
                            sp_frame_name(frame->type));
    return SP_OK;
}

int sp_frame_check_bulk(const struct sp_frame *frame, const void *bulk, struct sp_error *error)
{
    if (sp_crc32c(bulk, frame->bulk_bytes) != frame->bulk_crc)
        return sp_error_set(error, SP_E_CORRUPT, "%s frame: the checksum of its bulk bytes does not match",
                            sp_frame_name(frame->type));
    return SP_OK;
}
