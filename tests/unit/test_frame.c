/* The frame's header byte by byte, its limits, and its checksums, with zlib's crc32 and a CRC-32C by its definition as
 * second opinions. */
#include "common/layout.h"
#include "proto/frame.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <zlib.h>

/* What proto/frame.h says of each type, once more. */
static const struct {
    enum sp_frame_type type;
    unsigned number;
    const char *name;
    uint32_t control_max;
    bool bulk;
} types[] = {
    {SP_FRAME_HELLO, 1, "HELLO", 4096, false},     {SP_FRAME_WELCOME, 2, "WELCOME", 1048576, false},
    {SP_FRAME_INIT, 3, "INIT", 0, false},          {SP_FRAME_WEIGHTS, 4, "WEIGHTS", 40960, true},
    {SP_FRAME_READY, 5, "READY", 40960, false},    {SP_FRAME_PUSH, 6, "PUSH", 40960, true},
    {SP_FRAME_UPDATE, 7, "UPDATE", 16, true},      {SP_FRAME_COMMIT, 8, "COMMIT", 40960, false},
    {SP_FRAME_EVAL, 9, "EVAL", 40960, false},      {SP_FRAME_SCORE, 10, "SCORE", 40960, false},
    {SP_FRAME_RESYNC, 11, "RESYNC", 40960, false}, {SP_FRAME_ALIVE, 12, "ALIVE", 0, false},
    {SP_FRAME_BYE, 13, "BYE", 4096, false},        {SP_FRAME_CHALLENGE, 14, "CHALLENGE", 4096, false},
    {SP_FRAME_PROOF, 15, "PROOF", 4096, false},    {SP_FRAME_LAYOUT, 16, "LAYOUT", 1048576, false},
    {SP_FRAME_ASK, 17, "ASK", 4096, false},        {SP_FRAME_ANSWER, 18, "ANSWER", 1048576, false},
};

#define BULK_MAX 65536u

/* --- the byte map ------------------------------------------------------------------------------------------------- */

static const uint8_t some_control[5] = {0x11, 0x22, 0x33, 0x44, 0x55};
static const uint8_t some_bulk[6] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6};

static const struct sp_frame some_frame = {.type = SP_FRAME_PUSH,
                                           .flags = SP_FRAME_LAST | SP_FRAME_FULL | SP_FRAME_BUFFERS,
                                           .round = 0x04030201,
                                           .first = UINT64_C(0x0000000302010efd),
                                           .count = 0x0a0b0c0d,
                                           .control_bytes = 5,
                                           .bulk_bytes = 6};

/* CRC-32C, bit by bit. */
static uint32_t crc32c(const uint8_t *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
    }
    return ~crc;
}

/* The header's checksum is Python's: zlib.crc32(header[:36] + control). */
static const uint8_t some_header[SP_FRAME_HEADER_BYTES] = {
    'S',  'G',  'N',  'P',                          /* magic */
    4,    6,    0x0d, 0x00,                         /* version, type, flags */
    0x01, 0x02, 0x03, 0x04,                         /* round */
    0x05, 0x00, 0x00, 0x00,                         /* control bytes */
    0xfd, 0x0e, 0x01, 0x02, 0x03, 0x00, 0x00, 0x00, /* first coordinate */
    0x0d, 0x0c, 0x0b, 0x0a,                         /* coordinates */
    0x06, 0x00, 0x00, 0x00,                         /* bulk bytes */
    0x45, 0xc7, 0x5e, 0x6a,                         /* bulk CRC */
    0x0b, 0xa3, 0x9d, 0x56,                         /* header CRC */
};

START_TEST(test_encode)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];

    memset(header, 0xee, sizeof header);
    sp_frame_encode(&some_frame, some_control, some_bulk, header);
    for (size_t i = 0; i < sizeof header; i++)
        ck_assert_msg(header[i] == some_header[i], "byte %zu: 0x%02x is not 0x%02x", i, header[i], some_header[i]);
}
END_TEST

START_TEST(test_decode)
{
    struct sp_error error = {.text = "untouched"};
    struct sp_frame frame;

    memset(&frame, 0xee, sizeof frame);
    ck_assert_int_eq(sp_frame_decode(some_header, &frame, &error), SP_OK);
    ck_assert_int_eq(frame.type, SP_FRAME_PUSH);
    ck_assert_uint_eq(frame.flags, 0x0d);
    ck_assert_uint_eq(frame.round, 0x04030201);
    ck_assert_uint_eq(frame.control_bytes, 5);
    ck_assert_uint_eq(frame.first, UINT64_C(0x302010efd));
    ck_assert_uint_eq(frame.count, 0x0a0b0c0d);
    ck_assert_uint_eq(frame.bulk_bytes, 6);
    ck_assert_uint_eq(frame.bulk_crc, crc32c(some_bulk, 6));
    ck_assert_uint_eq(frame.header_crc, crc32(crc32(0, some_header, 36), some_control, 5));
    ck_assert_int_eq(sp_frame_check_control(some_header, &frame, some_control, &error), SP_OK);
    ck_assert_int_eq(sp_frame_check_bulk(&frame, some_bulk, &error), SP_OK);
    ck_assert_str_eq(error.text, "untouched");
}
END_TEST

/* No control, no bulk: pointers to them may be NULL, the bulk's CRC is 0. */
START_TEST(test_bare_frame)
{
    const struct sp_frame alive = {.type = SP_FRAME_ALIVE};
    uint8_t header[SP_FRAME_HEADER_BYTES], expected[SP_FRAME_HEADER_BYTES] = {'S', 'G', 'N', 'P', 4, 12};
    uint32_t crc = (uint32_t)crc32(0, expected, 36);
    struct sp_frame frame;

    for (int i = 0; i < 4; i++)
        expected[36 + i] = (uint8_t)(crc >> (8 * i));
    sp_frame_encode(&alive, NULL, NULL, header);
    ck_assert_mem_eq(header, expected, sizeof header);
    ck_assert_int_eq(sp_frame_decode(header, &frame, NULL), SP_OK);
    ck_assert_int_eq(sp_frame_check_control(header, &frame, NULL, NULL), SP_OK);
    ck_assert_int_eq(sp_frame_check_bulk(&frame, NULL, NULL), SP_OK);
}
END_TEST

START_TEST(test_names_and_numbers)
{
    for (size_t i = 0; i < UNIT_COUNT(types); i++) {
        ck_assert_uint_eq(types[i].type, types[i].number);
        ck_assert_str_eq(sp_frame_name(types[i].number), types[i].name);
    }
    ck_assert_str_eq(sp_frame_name(0), "?");
    ck_assert_str_eq(sp_frame_name(19), "?");
    ck_assert_str_eq(sp_frame_name(255), "?");
    ck_assert_str_eq(sp_frame_name(UINT32_MAX), "?");
    ck_assert_uint_eq(SP_FRAME_HEADER_BYTES, 40);
}
END_TEST

/* Frames of every type with any content within the limits, back and forth, and both CRCs as the second opinions have
 * them. */
START_TEST(test_round_trip)
{
    struct sp_rng rng = unit_rng((uint64_t)_i);
    uint8_t *control = unit_alloc(SP_CONTROL_BYTES_MAX), *bulk = unit_alloc(BULK_MAX);

    for (size_t i = 0; i < SP_CONTROL_BYTES_MAX; i++)
        control[i] = (uint8_t)(sp_mix64(i) >> 7);
    for (size_t i = 0; i < BULK_MAX; i++)
        bulk[i] = (uint8_t)sp_rng_next(&rng);
    for (int k = 0; k < 20; k++) {
        struct sp_frame frame = {.type = types[_i].type}, back;
        uint8_t header[SP_FRAME_HEADER_BYTES];

        frame.flags = (uint16_t)sp_rng_below(&rng, 16);
        frame.round = sp_rng_next(&rng);
        frame.control_bytes = sp_rng_below(&rng, types[_i].control_max + 1);
        frame.bulk_bytes = types[_i].bulk ? sp_rng_below(&rng, BULK_MAX + 1) : 0;
        frame.count = frame.bulk_bytes > 0 ? 1 + sp_rng_below(&rng, UINT32_MAX) : 0;
        frame.first = unit_next64(&rng) % (SP_COORDINATES_MAX - frame.count);
        sp_frame_encode(&frame, control, bulk, header);
        ck_assert_int_eq(sp_frame_decode(header, &back, NULL), SP_OK);
        ck_assert(back.type == frame.type && back.flags == frame.flags && back.round == frame.round);
        ck_assert(back.first == frame.first && back.count == frame.count);
        ck_assert(back.control_bytes == frame.control_bytes && back.bulk_bytes == frame.bulk_bytes);
        ck_assert_uint_eq(back.bulk_crc, crc32c(bulk, frame.bulk_bytes));
        ck_assert_uint_eq(back.header_crc, crc32(crc32(0, header, 36), control, frame.control_bytes));
        ck_assert_int_eq(sp_frame_check_control(header, &back, control, NULL), SP_OK);
        ck_assert_int_eq(sp_frame_check_bulk(&back, bulk, NULL), SP_OK);
    }
    free(control);
    free(bulk);
}
END_TEST

/* --- what is refused ---------------------------------------------------------------------------------------------- */

static void put(uint8_t *header, size_t at, size_t bytes, uint64_t value)
{
    for (size_t i = 0; i < bytes; i++)
        header[at + i] = (uint8_t)(value >> (8 * i));
}

struct numbers {
    uint64_t control, first, count, bulk;
};

/* A header of these numbers, as a peer would write it that knows no limits. */
static void write_header(uint8_t header[SP_FRAME_HEADER_BYTES], unsigned type, const struct numbers *n)
{
    memset(header, 0, SP_FRAME_HEADER_BYTES);
    memcpy(header, "SGNP\4", 5);
    header[5] = (uint8_t)type;
    put(header, 12, 4, n->control);
    put(header, 16, 8, n->first);
    put(header, 24, 4, n->count);
    put(header, 28, 4, n->bulk);
}

static void expect_refusal(const uint8_t header[SP_FRAME_HEADER_BYTES], int code, const char *words)
{
    struct sp_error error = {0};
    struct sp_frame frame;

    ck_assert_int_eq(sp_frame_decode(header, &frame, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_str_eq(error.text, words);
    ck_assert_int_eq(sp_frame_decode(header, &frame, NULL), code);
}

static void expect_ok(const uint8_t header[SP_FRAME_HEADER_BYTES])
{
    struct sp_error error = {0};
    struct sp_frame frame;

    ck_assert_msg(sp_frame_decode(header, &frame, &error) == SP_OK, "%s", error.text);
}

START_TEST(test_magic)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];

    for (int i = 0; i < 4; i++) {
        for (int bit = 0; bit < 8; bit++) {
            char words[128];

            memcpy(header, some_header, sizeof header);
            header[i] ^= (uint8_t)(1u << bit);
            (void)snprintf(words, sizeof words,
                           "not a Signpost frame: it starts with bytes %02x %02x %02x %02x, not \"SGNP\"", header[0],
                           header[1], header[2], header[3]);
            expect_refusal(header, SP_E_PROTOCOL, words);
        }
    }
    memcpy(header, "GET / HTTP/1.1\r\nHost: signpost.example\r\n", sizeof header);
    expect_refusal(header, SP_E_PROTOCOL, "not a Signpost frame: it starts with bytes 47 45 54 20, not \"SGNP\"");
    memset(header, 0xff, sizeof header);
    expect_refusal(header, SP_E_PROTOCOL, "not a Signpost frame: it starts with bytes ff ff ff ff, not \"SGNP\"");
    memset(header, 0, sizeof header);
    expect_refusal(header, SP_E_PROTOCOL, "not a Signpost frame: it starts with bytes 00 00 00 00, not \"SGNP\"");
}
END_TEST

#define OTHER_VERSION                                                                                                  \
    "the other side speaks version %u of Signpost's protocol, this one version 4; install the same release of "        \
    "Signpost on both"

/* Another version is told apart before anything else is read, so that the words can be true. */
START_TEST(test_version)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];

    memset(header, 0xff, sizeof header);
    memcpy(header, "SGNP", 4);
    for (unsigned type = 0; type < 256; type++) {
        for (unsigned version = 0; version < 256; version += type % 16 == 0 ? 1 : 15) {
            char words[200];

            if (version == 4 || type == SP_FRAME_BYE)
                continue;
            header[4] = (uint8_t)version;
            header[5] = (uint8_t)type;
            (void)snprintf(words, sizeof words, OTHER_VERSION, version);
            expect_refusal(header, SP_E_UNSUPPORTED, words);
        }
    }
}
END_TEST

/* BYE alone is understood from every version, with its checksum and its limits: two versions can part with a reason. */
START_TEST(test_bye_of_any_version)
{
    const struct numbers bye = {.control = 4096};
    uint8_t control[4096] = {0}, header[SP_FRAME_HEADER_BYTES];

    for (unsigned version = 0; version < 256; version++) {
        struct sp_frame frame;

        write_header(header, SP_FRAME_BYE, &bye);
        header[4] = (uint8_t)version;
        put(header, 36, 4, crc32(crc32(0, header, 36), control, sizeof control));
        ck_assert_int_eq(sp_frame_decode(header, &frame, NULL), SP_OK);
        ck_assert_int_eq(frame.type, SP_FRAME_BYE);
        ck_assert_uint_eq(frame.control_bytes, sizeof control);
        ck_assert_int_eq(sp_frame_check_control(header, &frame, control, NULL), SP_OK);
        header[4] ^= 1;
        ck_assert_int_eq(sp_frame_check_control(header, &frame, control, NULL), SP_E_CORRUPT);
        put(header, 12, 4, 4097);
        expect_refusal(header, SP_E_PROTOCOL, "BYE frame with 4097 control bytes; at most 4096 are allowed");
    }
}
END_TEST

/* A frame that this build sends says so in its own version, BYE as well. */
START_TEST(test_own_version)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];

    for (size_t i = 0; i < UNIT_COUNT(types); i++) {
        sp_frame_encode(&(struct sp_frame){.type = types[i].type}, NULL, NULL, header);
        ck_assert_uint_eq(header[4], 4);
        ck_assert_uint_eq(header[5], types[i].number);
    }
}
END_TEST

START_TEST(test_type)
{
    const struct numbers none = {0, 0, 0, 0};
    uint8_t header[SP_FRAME_HEADER_BYTES];

    for (unsigned type = 0; type < 256; type++) {
        char words[128];

        write_header(header, type, &none);
        (void)snprintf(words, sizeof words, "unknown frame type %u", type);
        if (type >= 1 && type <= 18)
            expect_ok(header);
        else
            expect_refusal(header, SP_E_PROTOCOL, words);
    }
}
END_TEST

START_TEST(test_flags)
{
    const struct numbers none = {0, 0, 0, 0};
    uint8_t header[SP_FRAME_HEADER_BYTES];

    for (unsigned bit = 0; bit < 16; bit++) {
        char words[128];

        write_header(header, 5, &none);
        put(header, 6, 2, UINT64_C(1) << bit);
        (void)snprintf(words, sizeof words, "READY frame with unknown flags 0x%04x", 1u << bit);
        if (bit < 4)
            expect_ok(header);
        else
            expect_refusal(header, SP_E_PROTOCOL, words);
    }
    put(header, 6, 2, 0xffff);
    expect_refusal(header, SP_E_PROTOCOL, "READY frame with unknown flags 0xffff");
}
END_TEST

START_TEST(test_control_bytes)
{
    uint32_t most = types[_i].control_max;
    const uint32_t too_many[] = {most + 1, most + 65536, 1u << 31, UINT32_MAX};
    struct numbers n = {.control = most};
    uint8_t header[SP_FRAME_HEADER_BYTES];

    write_header(header, types[_i].number, &n);
    expect_ok(header);
    for (size_t i = 0; i < UNIT_COUNT(too_many); i++) {
        char words[128];

        n.control = too_many[i];
        write_header(header, types[_i].number, &n);
        (void)snprintf(words, sizeof words, "%s frame with %u control bytes; at most %u are allowed", types[_i].name,
                       too_many[i], most);
        expect_refusal(header, SP_E_PROTOCOL, words);
    }
}
END_TEST

START_TEST(test_bulk_bytes)
{
    uint32_t most = types[_i].bulk ? BULK_MAX : 0;
    const uint32_t too_many[] = {most + 1, most + 65536, 1u << 31, UINT32_MAX};
    struct numbers n = {.bulk = most, .count = most > 0 ? 1 : 0};
    uint8_t header[SP_FRAME_HEADER_BYTES];

    write_header(header, types[_i].number, &n);
    expect_ok(header);
    n.count = 1;
    for (size_t i = 0; i < UNIT_COUNT(too_many); i++) {
        char words[128];

        n.bulk = too_many[i];
        write_header(header, types[_i].number, &n);
        (void)snprintf(words, sizeof words, "%s frame with %u bulk bytes; at most %u are allowed", types[_i].name,
                       too_many[i], most);
        expect_refusal(header, SP_E_PROTOCOL, words);
    }
}
END_TEST

/* Coordinates without bytes, and bytes without coordinates. */
START_TEST(test_count_against_bulk)
{
    struct numbers n = {.count = 1};
    uint8_t header[SP_FRAME_HEADER_BYTES];
    char words[128];

    write_header(header, types[_i].number, &n);
    (void)snprintf(words, sizeof words, "%s frame with 1 coordinates in 0 bulk bytes", types[_i].name);
    expect_refusal(header, SP_E_PROTOCOL, words);
    n.count = UINT32_MAX;
    write_header(header, types[_i].number, &n);
    (void)snprintf(words, sizeof words, "%s frame with 4294967295 coordinates in 0 bulk bytes", types[_i].name);
    expect_refusal(header, SP_E_PROTOCOL, words);
    if (!types[_i].bulk)
        return;
    n.count = 0;
    n.bulk = 1;
    write_header(header, types[_i].number, &n);
    (void)snprintf(words, sizeof words, "%s frame with 0 coordinates in 1 bulk bytes", types[_i].name);
    expect_refusal(header, SP_E_PROTOCOL, words);
}
END_TEST

/* Ranges at the limit, beyond it, and where first + count wraps 64 bits. */
START_TEST(test_coordinates)
{
    static const struct {
        uint64_t first, count;
        bool ok;
    } rows[] = {
        {0, 1, true},
        {0, UINT32_MAX, true},
        {SP_COORDINATES_MAX - 1, 1, true},
        {SP_COORDINATES_MAX - UINT32_MAX, UINT32_MAX, true},
        {SP_COORDINATES_MAX, 1, false},
        {SP_COORDINATES_MAX - 1, 2, false},
        {SP_COORDINATES_MAX - UINT32_MAX + 1, UINT32_MAX, false},
        {SP_COORDINATES_MAX + 1, 1, false},
        {UINT64_MAX, 1, false},
        {UINT64_MAX - UINT32_MAX + 1, UINT32_MAX, false},
        {UINT64_C(1) << 63, 1, false},
        {SP_COORDINATES_MAX, 0, true},
        {SP_COORDINATES_MAX + 1, 0, false},
        {UINT64_MAX, 0, false},
    };
    uint8_t header[SP_FRAME_HEADER_BYTES];

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const struct numbers n = {.first = rows[i].first, .count = rows[i].count, .bulk = rows[i].count > 0};

        write_header(header, SP_FRAME_UPDATE, &n);
        if (rows[i].ok)
            expect_ok(header);
        else
            expect_refusal(header, SP_E_PROTOCOL, "UPDATE frame with a coordinate range beyond 17179869184");
    }
}
END_TEST

/* --- checksums ---------------------------------------------------------------------------------------------------- */

/* A frame of 40 + 33 + 100 bytes; the room after its control message takes what a wrong length would read. */
struct flipped {
    uint8_t header[SP_FRAME_HEADER_BYTES];
    uint8_t control[SP_CONTROL_BYTES_MAX];
    uint8_t bulk[100];
    struct sp_frame frame;
};

static struct flipped *make_flipped(void)
{
    struct flipped *f = unit_alloc(sizeof *f);
    struct sp_frame frame = {.type = SP_FRAME_PUSH,
                             .flags = SP_FRAME_LAST,
                             .round = 7,
                             .first = 524288,
                             .count = 800,
                             .control_bytes = 33,
                             .bulk_bytes = 100};

    memset(f->control, 0, sizeof f->control);
    for (size_t i = 0; i < 33; i++)
        f->control[i] = (uint8_t)(3 * i + 1);
    for (size_t i = 0; i < 100; i++)
        f->bulk[i] = (uint8_t)(5 * i + 2);
    sp_frame_encode(&frame, f->control, f->bulk, f->header);
    ck_assert_int_eq(sp_frame_decode(f->header, &f->frame, NULL), SP_OK);
    return f;
}

/* Either the header is refused at once, or its checksum is found wrong. */
static int check_header(const struct flipped *f, struct sp_error *error)
{
    struct sp_frame frame;
    int rc = sp_frame_decode(f->header, &frame, error);

    return rc != SP_OK ? rc : sp_frame_check_control(f->header, &frame, f->control, error);
}

START_TEST(test_every_bit_of_the_header)
{
    struct flipped *f = make_flipped();
    unsigned corrupt = 0;

    ck_assert_int_eq(check_header(f, NULL), SP_OK);
    for (size_t bit = 0; bit < 8 * SP_FRAME_HEADER_BYTES; bit++) {
        struct sp_error error = {0};
        int rc;

        f->header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        rc = check_header(f, &error);
        ck_assert_msg(rc != SP_OK, "bit %zu of the header is not protected", bit);
        ck_assert_int_eq(error.code, rc);
        if (rc == SP_E_CORRUPT) {
            corrupt++;
            ck_assert_ptr_nonnull(strstr(error.text, "frame: the checksum of its header does not match"));
        }
        f->header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert_uint_gt(corrupt, 32 + 32 + 34); /* at least round, both CRCs, most of first */
    free(f);
}
END_TEST

START_TEST(test_every_bit_of_the_control_message)
{
    struct flipped *f = make_flipped();

    for (size_t bit = 0; bit < 8u * 33; bit++) {
        struct sp_error error = {0};

        f->control[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(sp_frame_check_control(f->header, &f->frame, f->control, &error), SP_E_CORRUPT);
        ck_assert_str_eq(error.text, "PUSH frame: the checksum of its header does not match");
        f->control[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert_int_eq(check_header(f, NULL), SP_OK);
    free(f);
}
END_TEST

START_TEST(test_every_bit_of_the_bulk)
{
    struct flipped *f = make_flipped();

    for (size_t bit = 0; bit < 8 * sizeof f->bulk; bit++) {
        struct sp_error error = {0};

        f->bulk[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(sp_frame_check_bulk(&f->frame, f->bulk, &error), SP_E_CORRUPT);
        ck_assert_str_eq(error.text, "PUSH frame: the checksum of its bulk bytes does not match");
        f->bulk[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert_int_eq(sp_frame_check_bulk(&f->frame, f->bulk, NULL), SP_OK);
    free(f);
}
END_TEST

/* The check value of CRC-32C, and lengths and alignments around the steps that a kernel may take. */
START_TEST(test_checksum_of_the_bulk)
{
    uint8_t bytes[1100], header[SP_FRAME_HEADER_BYTES];
    struct sp_frame frame = {.type = SP_FRAME_PUSH, .count = 1, .bulk_bytes = 9};

    sp_frame_encode(&frame, NULL, "123456789", header);
    ck_assert_mem_eq(header + 32, "\x83\x92\x06\xe3", 4);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(sp_mix64(i) >> 7);
    for (uint32_t count = 1; count <= sizeof bytes - 16; count++) {
        size_t at = count % 17;

        frame.bulk_bytes = count;
        frame.bulk_crc = crc32c(bytes + at, count);
        ck_assert_msg(sp_frame_check_bulk(&frame, bytes + at, NULL) == SP_OK, "%u bytes from %zu", count, at);
    }
}
END_TEST

/* A frame without bulk whose header claims a checksum for it. */
START_TEST(test_checksum_of_no_bulk)
{
    const struct sp_frame frame = {.type = SP_FRAME_PUSH, .bulk_crc = 1};

    ck_assert_int_eq(sp_frame_check_bulk(&frame, NULL, NULL), SP_E_CORRUPT);
}
END_TEST

/* --- our own mistakes ----------------------------------------------------------------------------------------------
 */

static const struct sp_frame never_sent[] = {
    {.type = (enum sp_frame_type)19},
    {.type = SP_FRAME_ALIVE, .control_bytes = 1},
    {.type = SP_FRAME_PUSH, .control_bytes = 40961},
    {.type = SP_FRAME_HELLO, .control_bytes = 4097},
    {.type = SP_FRAME_UPDATE, .count = 1, .bulk_bytes = BULK_MAX + 1},
    {.type = SP_FRAME_UPDATE, .control_bytes = 17},
};

START_TEST(test_encode_beyond_the_limits_aborts)
{
    uint8_t *bytes = calloc(1, BULK_MAX + 1), header[SP_FRAME_HEADER_BYTES];

    sp_frame_encode(&never_sent[_i], bytes, bytes, header);
}
END_TEST

int main(void)
{
    const int count = (int)UNIT_COUNT(types);
    TCase *tests = tcase_create("frame");

    tcase_add_test(tests, test_encode);
    tcase_add_test(tests, test_decode);
    tcase_add_test(tests, test_bare_frame);
    tcase_add_test(tests, test_names_and_numbers);
    tcase_add_loop_test(tests, test_round_trip, 0, count);
    tcase_add_test(tests, test_magic);
    tcase_add_test(tests, test_version);
    tcase_add_test(tests, test_bye_of_any_version);
    tcase_add_test(tests, test_own_version);
    tcase_add_test(tests, test_type);
    tcase_add_test(tests, test_flags);
    tcase_add_loop_test(tests, test_control_bytes, 0, count);
    tcase_add_loop_test(tests, test_bulk_bytes, 0, count);
    tcase_add_loop_test(tests, test_count_against_bulk, 0, count);
    tcase_add_test(tests, test_coordinates);
    tcase_add_test(tests, test_every_bit_of_the_header);
    tcase_add_test(tests, test_every_bit_of_the_control_message);
    tcase_add_test(tests, test_every_bit_of_the_bulk);
    tcase_add_test(tests, test_checksum_of_the_bulk);
    tcase_add_test(tests, test_checksum_of_no_bulk);
    tcase_add_loop_test_raise_signal(tests, test_encode_beyond_the_limits_aborts, SIGABRT, 0,
                                     (int)UNIT_COUNT(never_sent));
    return unit_run(suite_create("frame"), tests);
}
