/* libFuzzer target: a control message as a peer might send it. The first byte chooses the frame's type, the second its
 * flags. What is accepted must be encoded and decoded again to the same bytes. */
#include "common/check.h"
#include "proto/codec.h"

#include <string.h>

#define TYPES 18

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint32_t control_bytes_max[TYPES + 1] = {
#define FUZZ_MAX(name, number, control, bulk) [number] = control,
    SP_FRAME_LIST(FUZZ_MAX)
#undef FUZZ_MAX
};

/* Decodes the control message of a frame of ours and encodes it anew. */
static struct sp_buffer *encode_again(const struct sp_buffer *buffer)
{
    const uint8_t *control = buffer->data + SP_FRAME_HEADER_BYTES;
    struct sp_message message = {0};
    struct sp_error error = {0};
    struct sp_buffer *again;

    sp_assert(sp_frame_decode(buffer->data, &message.frame, &error) == SP_OK);
    sp_assert(sp_frame_check_control(buffer->data, &message.frame, control, &error) == SP_OK);
    sp_assert(sp_codec_decode(&message, control, &error) == SP_OK);
    again = sp_codec_encode(&message, NULL, 0);
    sp_message_finish(&message);
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_message message = {0};
    struct sp_error error = {0};
    struct sp_buffer *first, *second;

    if (size < 2)
        return 0;
    message.frame.type = (enum sp_frame_type)(data[0] % TYPES + 1);
    message.frame.flags = data[1] & (SP_FRAME_LAST | SP_FRAME_ABSTAIN | SP_FRAME_FULL | SP_FRAME_BUFFERS);
    if (size - 2 > control_bytes_max[message.frame.type])
        return 0;
    message.frame.control_bytes = (uint32_t)(size - 2);
    if (sp_codec_decode(&message, data + 2, &error) != SP_OK) {
        sp_assert(error.code != SP_OK && error.text[0] != '\0');
        return 0;
    }
    first = sp_codec_encode(&message, NULL, 0);
    sp_message_finish(&message);
    sp_assert(first != NULL);
    second = encode_again(first);
    sp_assert(second != NULL && second->bytes == first->bytes);
    sp_assert(memcmp(second->data, first->data, first->bytes) == 0);
    sp_buffer_release(first);
    sp_buffer_release(second);
    return 0;
}
