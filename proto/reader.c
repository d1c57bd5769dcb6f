#include "proto/reader.h"

#include "common/check.h"

#include <stdlib.h>
#include <string.h>

enum { READ_HEADER, READ_CONTROL, READ_BULK, READ_HELD, READ_OVER };

void sp_reader_finish(struct sp_reader *reader)
{
    if (reader->state == READ_BULK || reader->state == READ_HELD)
        sp_message_finish(&reader->message);
    free(reader->control);
    reader->control = NULL;
    reader->state = READ_OVER;
}

static void give_up(struct sp_reader *reader, const struct sp_error *error)
{
    const struct sp_reader_events *events = reader->events;
    void *owner = reader->owner;

    sp_reader_finish(reader);
    events->broken(owner, error);
}

static void expect_header(struct sp_reader *reader)
{
    reader->state = READ_HEADER;
    sp_stream_read(reader->stream, reader->header, sizeof reader->header);
}

void sp_reader_start(struct sp_reader *reader, struct sp_stream *stream, const struct sp_reader_events *events,
                     void *owner)
{
    memset(reader, 0, sizeof *reader);
    reader->stream = stream;
    reader->events = events;
    reader->owner = owner;
    expect_header(reader);
}

/* Hands the message over. The owner may finish the reader inside `got`: the message is then kept here, not in it. */
static void deliver(struct sp_reader *reader)
{
    struct sp_message message = reader->message;
    struct sp_error error = {0};
    int rc;

    reader->state = READ_HEADER;
    rc = reader->events->got(reader->owner, &message, reader->bulk, &error);
    sp_message_finish(&message);
    if (reader->state == READ_OVER)
        return;
    if (reader->control_room > SP_CONTROL_BYTES_SMALL) { /* once in a connection's life: a layout, a plan */
        free(reader->control);
        reader->control = NULL;
        reader->control_room = 0;
    }
    if (rc != SP_OK)
        give_up(reader, &error);
    else
        expect_header(reader);
}

static void expect_bulk(struct sp_reader *reader)
{
    struct sp_error error = {0};
    int rc;

    reader->state = READ_HELD;
    rc = reader->events->place(reader->owner, &reader->message, &reader->bulk, &error);
    if (reader->state == READ_OVER || rc == SP_READER_HOLD)
        return;
    if (rc != SP_OK && rc != SP_READER_DISCARD) {
        give_up(reader, &error);
        return;
    }
    reader->discards = rc == SP_READER_DISCARD;
    reader->state = READ_BULK;
    sp_stream_read(reader->stream, reader->bulk, reader->message.frame.bulk_bytes);
}

bool sp_reader_is_held(const struct sp_reader *reader)
{
    return reader->state == READ_HELD;
}

void sp_reader_resume(struct sp_reader *reader)
{
    if (reader->state == READ_HELD)
        expect_bulk(reader);
}

static void decode_control(struct sp_reader *reader)
{
    struct sp_error error = {0};
    int rc = sp_frame_check_control(reader->header, &reader->message.frame, reader->control, &error);

    if (rc == SP_OK)
        rc = sp_codec_decode_in(&reader->arena, &reader->message, reader->control, &error);
    if (rc != SP_OK) {
        give_up(reader, &error);
        return;
    }
    reader->bulk = NULL;
    if (reader->message.frame.bulk_bytes > 0)
        expect_bulk(reader);
    else
        deliver(reader);
}

static void expect_control(struct sp_reader *reader)
{
    size_t bytes = reader->message.frame.control_bytes;

    if (bytes == 0) {
        decode_control(reader);
        return;
    }
    if (bytes > reader->control_room) {
        uint8_t *grown = realloc(reader->control, bytes);

        if (grown == NULL) {
            struct sp_error error;

            (void)sp_error_set(&error, SP_E_NOMEM, "no memory for %zu control bytes", bytes);
            give_up(reader, &error);
            return;
        }
        reader->control = grown;
        reader->control_room = bytes;
    }
    reader->state = READ_CONTROL;
    sp_stream_read(reader->stream, reader->control, bytes);
}

static int take_header(struct sp_reader *reader, struct sp_error *error)
{
    int rc = sp_frame_decode(reader->header, &reader->message.frame, error);

    if (rc == SP_OK && reader->events->header != NULL)
        rc = reader->events->header(reader->owner, &reader->message.frame, error);
    return rc;
}

void sp_reader_filled(struct sp_reader *reader)
{
    struct sp_error error = {0};

    switch (reader->state) {
    case READ_HEADER:
        if (take_header(reader, &error) != SP_OK)
            give_up(reader, &error);
        else
            expect_control(reader);
        break;
    case READ_CONTROL:
        decode_control(reader);
        break;
    case READ_BULK:
        if (reader->discards)
            reader->bulk = NULL;
        else if (sp_frame_check_bulk(&reader->message.frame, reader->bulk, &error) != SP_OK) {
            give_up(reader, &error);
            break;
        }
        deliver(reader);
        break;
    default:
        break;
    }
}
