/* Frames out of a stream: header, control message, then the bulk straight into the place that its owner names.
 *
 * Happy path, again and again: the header is read and checked, the control message is read, checked and decoded, the
 * owner's `place` says where the bulk goes, the bulk is read and checked, the owner's `got` takes the whole.
 * `place` may answer SP_READER_HOLD: then nothing more is read until sp_reader_resume(), which asks it again.
 *
 * Failure: whatever a peer sends that is not right ends in one `broken`, as does a negative answer of `place` or `got`.
 * After `broken` the reader does nothing more. The stream stays its owner's.
 */
#pragma once

#include "common/stream.h"
#include "proto/arena.h"
#include "proto/codec.h"

#define SP_READER_HOLD 1
#define SP_READER_DISCARD 2

struct sp_reader_events {
    /* The header is there and within the limits of its type; nothing was allocated for the rest. Answers 0, or a code
     * with words if this is no time for such a frame. May be NULL. */
    int (*header)(void *owner, const struct sp_frame *frame, struct sp_error *error);
    /* Only for frames with bulk. Answers 0 and a place with room for the bulk; SP_READER_DISCARD and one for bulk
     * that nobody wants, which may be shared: it is not checked, and `got` has none; SP_READER_HOLD, or a code with
     * words. */
    int (*place)(void *owner, const struct sp_message *message, void **destination, struct sp_error *error);
    /* Answers 0 or a code with words. The message is the reader's and ends after the call. */
    int (*got)(void *owner, struct sp_message *message, const void *bulk, struct sp_error *error);
    void (*broken)(void *owner, const struct sp_error *error);
};

struct sp_reader {
    struct sp_stream *stream;
    const struct sp_reader_events *events;
    void *owner;
    int state;
    uint8_t header[SP_FRAME_HEADER_BYTES];
    uint8_t *control; /* owned; grows to what frames need, never beyond SP_CONTROL_BYTES_MAX */
    size_t control_room;
    struct sp_message message;
    struct sp_arena arena; /* of that message */
    void *bulk;
    bool discards;
};

/* Starts reading. Embedded in its owner, who calls sp_reader_filled() from the stream's event `filled`. */
void sp_reader_start(struct sp_reader *reader, struct sp_stream *stream, const struct sp_reader_events *events,
                     void *owner);
void sp_reader_filled(struct sp_reader *reader);
void sp_reader_resume(struct sp_reader *reader);
/* True while `place` has it hold: what the peer sends is left unread. */
bool sp_reader_is_held(const struct sp_reader *reader);
/* Stops for good; no event follows. */
void sp_reader_finish(struct sp_reader *reader);
