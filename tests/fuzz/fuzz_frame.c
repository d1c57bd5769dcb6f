/* libFuzzer target: the bytes of a whole frame as a peer might send them. A header that is accepted must keep its
 * limits, and must come out the same when its frame is encoded again. */
#include "common/check.h"
#include "common/layout.h"
#include "proto/frame.h"

#include <string.h>

#define VERSION_AT 4
#define CRC_AT 32 /* the two checksums are the header's last fields */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t control[SP_CONTROL_BYTES_MAX], bulk[SP_BULK_BYTES_MAX];

/* What follows the header, filled up with zeros or cut. */
static void take_rest(const uint8_t *data, size_t size, const struct sp_frame *frame)
{
    size_t control_bytes = size < frame->control_bytes ? size : frame->control_bytes;
    size_t bulk_bytes = size - control_bytes < frame->bulk_bytes ? size - control_bytes : frame->bulk_bytes;

    memset(control, 0, frame->control_bytes);
    memset(bulk, 0, frame->bulk_bytes);
    memcpy(control, data, control_bytes);
    memcpy(bulk, data + control_bytes, bulk_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[SP_FRAME_HEADER_BYTES];
    struct sp_error error = {0};
    struct sp_frame frame, back;

    if (size < SP_FRAME_HEADER_BYTES)
        return 0;
    if (sp_frame_decode(data, &frame, &error) != SP_OK) {
        sp_assert(error.code != SP_OK && error.text[0] != '\0');
        return 0;
    }
    sp_assert(strcmp(sp_frame_name(frame.type), "?") != 0);
    sp_assert(frame.control_bytes <= SP_CONTROL_BYTES_MAX && frame.bulk_bytes <= SP_BULK_BYTES_MAX);
    sp_assert(frame.first <= SP_COORDINATES_MAX && frame.first + frame.count <= SP_COORDINATES_MAX);
    take_rest(data + SP_FRAME_HEADER_BYTES, size - SP_FRAME_HEADER_BYTES, &frame);
    (void)sp_frame_check_control(data, &frame, control, &error);
    (void)sp_frame_check_bulk(&frame, bulk, &error);
    sp_frame_encode(&frame, control, bulk, again);
    /* BYE is understood from any version, and answered in ours. */
    sp_assert(again[VERSION_AT] == SP_FRAME_VERSION);
    sp_assert(data[VERSION_AT] == SP_FRAME_VERSION || frame.type == SP_FRAME_BYE);
    sp_assert(memcmp(again, data, VERSION_AT) == 0);
    sp_assert(memcmp(again + VERSION_AT + 1, data + VERSION_AT + 1, CRC_AT - VERSION_AT - 1) == 0);
    sp_assert(sp_frame_decode(again, &back, &error) == SP_OK);
    sp_assert(sp_frame_check_control(again, &back, control, &error) == SP_OK);
    sp_assert(sp_frame_check_bulk(&back, bulk, &error) == SP_OK);
    return 0;
}
