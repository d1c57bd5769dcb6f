/* TLS on bytes in memory: two sides against each other, with certificates that deploy/make-certs.sh made, good and bad.
 */
#include "common/tls.h"

#include "common/error.h"
#include "tls_made.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- two sides ------------------------------------------------------------------------------------------------------
 */

struct pair {
    struct sp_tls *side[2]; /* enum sp_tls_side */
    int rc[2];              /* of the handshake */
    struct sp_error error[2];
    size_t carried[2]; /* bytes that this side sent so far */
    size_t damage[2];  /* the byte which is damaged, counted from 1; 0: none */
};

static struct sp_tls *make(enum sp_tls_side side, const char *folder, const char *who, const char *name)
{
    struct sp_tls_files *files = tls_made_files(side, folder, who);
    struct sp_tls *tls = sp_tls_create(files, name);

    ck_assert_ptr_nonnull(tls);
    sp_tls_files_free(files); /* the connection outlives it */
    return tls;
}

static void open_as(struct pair *p, const char *server, const char *worker, const char *name)
{
    memset(p, 0, sizeof *p);
    p->side[SP_TLS_SERVER] = make(SP_TLS_SERVER, "one", server, NULL);
    p->side[SP_TLS_CLIENT] = make(SP_TLS_CLIENT, "one", worker, name);
}

static void open_pair(struct pair *p)
{
    open_as(p, "server", "worker", "localhost");
}

static void close_pair(struct pair *p)
{
    sp_tls_destroy(p->side[0]);
    sp_tls_destroy(p->side[1]);
}

/* What one side has for the line arrives at the other, as far as there is room for it; at most `piece` bytes at a time,
 * and after each piece the other side shakes hands, if it still does. */
static bool carry(struct pair *p, int from, size_t piece, bool shaking)
{
    struct sp_tls *to = p->side[!from];
    uint8_t *copy;
    const uint8_t *bytes;
    size_t count = sp_tls_out(p->side[from], &bytes);

    if (count == 0)
        return false;
    copy = unit_alloc(count);
    memcpy(copy, bytes, count);
    sp_tls_sent(p->side[from]);
    for (size_t at = 0; at < count;) {
        size_t room, n = count - at < piece ? count - at : piece;
        uint8_t *place = sp_tls_room(to, &room);

        ck_assert_uint_gt(room, 0);
        n = n < room ? n : room;
        memcpy(place, copy + at, n);
        if (p->damage[from] > p->carried[from] && p->damage[from] <= p->carried[from] + n)
            place[p->damage[from] - 1 - p->carried[from]] ^= 0x10;
        p->carried[from] += n;
        at += n;
        sp_tls_received(to, n);
        if (shaking && p->rc[!from] == SP_TLS_MORE)
            p->rc[!from] = sp_tls_shake(to, &p->error[!from]);
    }
    free(copy);
    return true;
}

/* Until neither has anything to say. */
static void shake(struct pair *p, size_t piece)
{
    bool moved = true;

    p->rc[SP_TLS_SERVER] = SP_TLS_MORE;
    p->rc[SP_TLS_CLIENT] = sp_tls_shake(p->side[SP_TLS_CLIENT], &p->error[SP_TLS_CLIENT]);
    while (moved) {
        moved = carry(p, SP_TLS_CLIENT, piece, true);
        moved = carry(p, SP_TLS_SERVER, piece, true) || moved;
    }
}

static void expect_shaken(const struct pair *p)
{
    for (int i = 0; i < 2; i++)
        ck_assert_msg(p->rc[i] == SP_OK, "side %d: %d, %s", i, p->rc[i], p->error[i].text);
}

/* In TLS 1.3 a client is done before the server has looked at its certificate: it hears of that in its first read. */
static int read_byte(struct pair *p, int side)
{
    uint8_t byte;
    size_t got;

    return sp_tls_read(p->side[side], &byte, 1, &got, &p->error[side]);
}

static void expect_words(const struct pair *p, int side, const char *words)
{
    ck_assert_msg(strstr(p->error[side].text, words) != NULL, "'%s' lacks '%s'", p->error[side].text, words);
}

/* --- the happy path -------------------------------------------------------------------------------------------------
 */

START_TEST(test_handshake_in_pieces)
{
    static const size_t pieces[] = {1, 2, 3, 7, 100, 1000, 100000};
    struct pair p;

    open_pair(&p);
    shake(&p, pieces[_i]);
    expect_shaken(&p);
    ck_assert_uint_eq(sp_tls_unread(p.side[0]) + sp_tls_unread(p.side[1]), 0);
    ck_assert_uint_eq(p.carried[SP_TLS_SERVER] > 500 && p.carried[SP_TLS_SERVER] < 4000, true);
    close_pair(&p);
}
END_TEST

/* Large ones and small ones, both ways, read in sizes that fit nothing. */
START_TEST(test_writes_and_reads)
{
    static const size_t sizes[] = {1, 16384, 40, 1000000, 16385, 3, 200000};
    struct sp_rng rng = unit_rng(1);
    struct pair p;

    open_pair(&p);
    shake(&p, 1000);
    expect_shaken(&p);
    for (size_t i = 0; i < 2 * UNIT_COUNT(sizes); i++) {
        const int from = (int)(i % 2);
        const size_t bytes = sizes[i / 2];
        uint8_t *sent = unit_alloc(bytes), *read = unit_alloc(bytes);
        const uint8_t *out;
        size_t at = 0, line;
        uint8_t *copy;

        for (size_t k = 0; k < bytes; k++)
            sent[k] = (uint8_t)sp_rng_next(&rng);
        ck_assert_int_eq(sp_tls_write(p.side[from], sent, bytes), SP_OK);
        line = sp_tls_out(p.side[from], &out);
        ck_assert_uint_gt(line, bytes);
        ck_assert_uint_lt(line, bytes + bytes / 500 + 100);
        copy = unit_alloc(line);
        memcpy(copy, out, line);
        sp_tls_sent(p.side[from]);
        for (size_t put = 0; at < bytes;) {
            size_t got = 0, room, want = 1 + sp_rng_below(&rng, 5000);

            ck_assert_int_eq(sp_tls_read(p.side[!from], read + at, want < bytes - at ? want : bytes - at, &got, NULL),
                             SP_OK);
            at += got;
            if (got == 0) {
                uint8_t *place = sp_tls_room(p.side[!from], &room);
                size_t n = 1 + sp_rng_below(&rng, 9000);

                ck_assert_uint_lt(put, line);
                ck_assert_uint_gt(room, 0);
                n = n < room ? n : room;
                n = n < line - put ? n : line - put;
                memcpy(place, copy + put, n);
                sp_tls_received(p.side[!from], n);
                put += n;
            }
        }
        ck_assert_mem_eq(sent, read, bytes);
        ck_assert_uint_eq(sp_tls_unread(p.side[!from]), 0);
        free(sent);
        free(read);
        free(copy);
    }
    close_pair(&p);
}
END_TEST

/* What is there and was not read counts, whether it is decrypted or not. */
START_TEST(test_unread)
{
    uint8_t bytes[100] = {0}, got[100];
    struct pair p;
    size_t n;

    open_pair(&p);
    shake(&p, 1000);
    ck_assert_int_eq(sp_tls_write(p.side[0], bytes, sizeof bytes), SP_OK);
    (void)carry(&p, 0, 100000, false);
    ck_assert_uint_gt(sp_tls_unread(p.side[1]), 100);
    ck_assert_int_eq(sp_tls_read(p.side[1], got, 30, &n, NULL), SP_OK);
    ck_assert_uint_eq(n, 30);
    ck_assert_uint_eq(sp_tls_unread(p.side[1]), 70);
    ck_assert_int_eq(sp_tls_read(p.side[1], got, 100, &n, NULL), SP_OK);
    ck_assert_uint_eq(n, 70);
    ck_assert_uint_eq(sp_tls_unread(p.side[1]), 0);
    close_pair(&p);
}
END_TEST

/* A line that brings much at once gets more room, but not before the handshake, and not without end. */
START_TEST(test_room_grows_to_a_bound)
{
    uint8_t *much = unit_alloc(1000000), *got = unit_alloc(1000000);
    struct pair p;
    const uint8_t *out;
    size_t room, line, put = 0, most = 0;

    memset(much, 1, 1000000);
    open_pair(&p);
    (void)sp_tls_room(p.side[0], &room);
    ck_assert_uint_eq(room, SP_TLS_ROOM_FIRST);
    shake(&p, 1000);
    ck_assert_int_eq(sp_tls_write(p.side[1], much, 1000000), SP_OK);
    line = sp_tls_out(p.side[1], &out);
    while (put < line) {
        uint8_t *place = sp_tls_room(p.side[0], &room);
        size_t n = room < line - put ? room : line - put;

        most = room > most ? room : most;
        memcpy(place, out + put, n);
        put += n;
        sp_tls_received(p.side[0], n);
        do {
            ck_assert_int_eq(sp_tls_read(p.side[0], got, 1000000, &n, NULL), SP_OK);
        } while (n > 0);
    }
    ck_assert_uint_gt(most, SP_TLS_ROOM_FIRST);
    ck_assert_uint_le(most, SP_TLS_ROOM_MAX);
    free(much);
    free(got);
    close_pair(&p);
}
END_TEST

/* More than may be encrypted at once is refused; what is taken away makes room. */
START_TEST(test_out_has_a_bound)
{
    uint8_t *much = unit_alloc(SP_TLS_OUT_MAX);
    const uint8_t *out;
    struct pair p;

    memset(much, 1, SP_TLS_OUT_MAX);
    open_pair(&p);
    shake(&p, 1000);
    ck_assert_int_eq(sp_tls_write(p.side[0], much, SP_TLS_OUT_MAX / 2), SP_OK);
    sp_tls_sent(p.side[0]);
    ck_assert_int_eq(sp_tls_write(p.side[0], much, SP_TLS_OUT_MAX / 2), SP_OK);
    ck_assert_int_eq(sp_tls_write(p.side[0], much, SP_TLS_OUT_MAX / 2), SP_E_NOMEM);
    ck_assert_uint_le(sp_tls_out(p.side[0], &out), SP_TLS_OUT_MAX);
    free(much);
    close_pair(&p);
}
END_TEST

START_TEST(test_end)
{
    uint8_t byte = 1;
    struct pair p;
    size_t got;

    open_pair(&p);
    shake(&p, 1000);
    ck_assert_int_eq(sp_tls_write(p.side[0], &byte, 1), SP_OK);
    sp_tls_end(p.side[0]);
    ck_assert_int_eq(sp_tls_write(p.side[0], &byte, 1), SP_E_CLOSED);
    (void)carry(&p, 0, 1, false);
    ck_assert_int_eq(sp_tls_read(p.side[1], &byte, 1, &got, NULL), SP_OK);
    ck_assert_uint_eq(got, 1);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(read_byte(&p, 1), SP_E_CLOSED);
        ck_assert_str_eq(p.error[1].text, "the other side closed the connection");
    }
    close_pair(&p);
    open_pair(&p); /* before anything was said */
    sp_tls_end(p.side[0]);
    close_pair(&p);
}
END_TEST

/* --- who is there ---------------------------------------------------------------------------------------------------
 */

START_TEST(test_exporter)
{
    uint8_t bytes[4][SP_TLS_EXPORTER_BYTES];
    struct pair p;

    for (int i = 0; i < 2; i++) {
        open_pair(&p);
        ck_assert_int_eq(sp_tls_exporter(p.side[0], bytes[0]), SP_E_NOMEM); /* not yet */
        shake(&p, 1000);
        ck_assert_int_eq(sp_tls_exporter(p.side[0], bytes[2 * i]), SP_OK);
        ck_assert_int_eq(sp_tls_exporter(p.side[1], bytes[2 * i + 1]), SP_OK);
        ck_assert_mem_eq(bytes[2 * i], bytes[2 * i + 1], SP_TLS_EXPORTER_BYTES);
        close_pair(&p);
    }
    ck_assert_mem_ne(bytes[0], bytes[2], SP_TLS_EXPORTER_BYTES);
}
END_TEST

START_TEST(test_roles)
{
    static const struct {
        const char *who;
        bool worker, operates;
    } each[] = {{"worker", true, false}, {"operator", false, true}};
    struct pair p;

    for (size_t i = 0; i < UNIT_COUNT(each); i++) {
        open_as(&p, "server", each[i].who, "localhost");
        ck_assert(!sp_tls_has_role(p.side[SP_TLS_SERVER], SP_TLS_ROLE_WORKER));
        shake(&p, 1000);
        expect_shaken(&p);
        ck_assert(sp_tls_has_role(p.side[SP_TLS_SERVER], SP_TLS_ROLE_WORKER) == each[i].worker);
        ck_assert(sp_tls_has_role(p.side[SP_TLS_SERVER], SP_TLS_ROLE_OPERATOR) == each[i].operates);
        ck_assert(!sp_tls_has_role(p.side[SP_TLS_SERVER], "signpost:work"));
        ck_assert(!sp_tls_has_role(p.side[SP_TLS_SERVER], "signpost:workers"));
        ck_assert(!sp_tls_has_role(p.side[SP_TLS_SERVER], ""));
        ck_assert(!sp_tls_has_role(p.side[SP_TLS_CLIENT], SP_TLS_ROLE_WORKER));
        close_pair(&p);
    }
}
END_TEST

START_TEST(test_names)
{
    static const char *const right[] = {"localhost", "LOCALHOST",       "127.0.0.1",
                                        "::1",       "0:0:0:0:0:0:0:1", "params.example"};
    static const char *const wrong[] = {"127.0.0.2",        "::2",   "localhos", "localhost.example",
                                        "x.params.example", "server"};
    struct pair p;

    for (size_t i = 0; i < UNIT_COUNT(right); i++) {
        open_as(&p, "server", "worker", right[i]);
        shake(&p, 1000);
        expect_shaken(&p);
        close_pair(&p);
    }
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        open_as(&p, "server", "worker", wrong[i]);
        shake(&p, 1000);
        ck_assert_msg(p.rc[SP_TLS_CLIENT] == SP_E_REJECTED, "%s is taken", wrong[i]);
        expect_words(&p, SP_TLS_CLIENT, "its certificate does not name '");
        expect_words(&p, SP_TLS_CLIENT, wrong[i]);
        ck_assert_int_ne(p.rc[SP_TLS_SERVER], SP_OK);
        close_pair(&p);
    }
}
END_TEST

/* Another CA, on either side: the one refuses, and the other hears why. */
START_TEST(test_another_ca)
{
    struct pair p;

    memset(&p, 0, sizeof p);
    p.side[SP_TLS_SERVER] = make(SP_TLS_SERVER, "two", "server", NULL);
    p.side[SP_TLS_CLIENT] = make(SP_TLS_CLIENT, "one", "worker", "localhost");
    shake(&p, 1000);
    ck_assert_int_eq(p.rc[SP_TLS_CLIENT], SP_E_REJECTED);
    expect_words(&p, SP_TLS_CLIENT, "its certificate is not trusted: ");
    expect_words(&p, SP_TLS_CLIENT, "/one/ca.crt");
    ck_assert_int_eq(p.rc[SP_TLS_SERVER], SP_E_REJECTED);
    expect_words(&p, SP_TLS_SERVER, "does not know who signed our certificate");
    close_pair(&p);

    /* A client that trusts both, and shows one which the server does not know. */
    tls_made_join("both.crt", "one/ca.crt", "two/ca.crt");
    memset(&p, 0, sizeof p);
    p.side[SP_TLS_SERVER] = make(SP_TLS_SERVER, "one", "server", NULL);
    {
        struct sp_tls_files *files = tls_made_files_of(SP_TLS_CLIENT, "two/worker.crt", "two/worker.key", "both.crt");

        p.side[SP_TLS_CLIENT] = sp_tls_create(files, "localhost");
        sp_tls_files_free(files);
    }
    shake(&p, 1000);
    ck_assert_int_eq(p.rc[SP_TLS_SERVER], SP_E_REJECTED);
    expect_words(&p, SP_TLS_SERVER, "its certificate is not trusted: ");
    ck_assert_int_eq(p.rc[SP_TLS_CLIENT], SP_OK);
    ck_assert_int_eq(read_byte(&p, SP_TLS_CLIENT), SP_E_REJECTED);
    expect_words(&p, SP_TLS_CLIENT, "does not know who signed our certificate");
    close_pair(&p);
}
END_TEST

/* --- what is no TLS, or was changed ----------------------------------------------------------------------------------
 */

static int feed(struct sp_tls *tls, const void *bytes, size_t count, struct sp_error *error)
{
    size_t room;
    uint8_t *place = sp_tls_room(tls, &room);

    ck_assert_uint_ge(room, count);
    memcpy(place, bytes, count);
    sp_tls_received(tls, count);
    return sp_tls_shake(tls, error);
}

/* OpenSSL would take a ClientHello of 128 KiB, and compare all in it with all. */
START_TEST(test_a_handshake_has_a_bound)
{
    static const uint8_t large[] = {22, 3, 1, 64, 0, 1, 0, 32, 1}, split[] = {22, 3, 1, 0, 3, 1, 0, 1, 22};
    static const uint8_t whole[] = {22, 3, 1, 0, 4, 1, 0, 32, 0};
    struct sp_error error = {0};
    struct pair p;

    open_pair(&p);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], large, 8, &error), SP_TLS_MORE);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], large + 8, 1, &error), SP_E_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(error.text, "its first message of TLS is split, or has more than 8192 bytes"));
    ck_assert_int_eq(feed(p.side[SP_TLS_CLIENT], large, sizeof large, &error), SP_E_PROTOCOL);
    close_pair(&p);
    open_pair(&p);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], split, sizeof split, &error), SP_E_PROTOCOL);
    close_pair(&p);
    open_pair(&p);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], whole, sizeof whole, &error), SP_TLS_MORE);
    close_pair(&p);
}
END_TEST

START_TEST(test_plain_bytes)
{
    static const char http[] = "GET / HTTP/1.1\r\n\r\n";
    struct sp_error error = {0};
    struct pair p;

    for (size_t piece = 1; piece <= 4; piece++) {
        int rc = SP_TLS_MORE;

        open_pair(&p);
        for (size_t at = 0; at < 4; at += piece) {
            ck_assert_int_eq(rc, SP_TLS_MORE);
            rc = feed(p.side[SP_TLS_SERVER], &"SGNP\4"[at], piece < 4 - at ? piece : 4 - at, &error);
        }
        ck_assert_int_eq(rc, SP_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(error.text, "it speaks without TLS"));
        ck_assert_int_eq(feed(p.side[SP_TLS_CLIENT], "SGNP\4", 5, &error), SP_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(error.text, "it answers without TLS"));
        close_pair(&p);
    }
    open_pair(&p);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], "SGNQ", 4, &error), SP_TLS_MORE);
    ck_assert_int_lt(feed(p.side[SP_TLS_SERVER], "and more", 8, &error), 0);
    close_pair(&p);
    open_pair(&p);
    ck_assert_int_eq(feed(p.side[SP_TLS_SERVER], http, sizeof http - 1, &error), SP_E_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(error.text, "what came is no TLS"));
    close_pair(&p);
}
END_TEST

/* One bit, after the handshake, anywhere: SP_E_CORRUPT, but for the length of a record, which may have to be waited
 * for. */
START_TEST(test_damaged_byte)
{
    uint8_t bytes[200] = {0}, got[200];
    struct pair p;

    for (size_t place = 1; place <= 200 + 22; place += place < 12 ? 1 : 17) {
        struct sp_error error = {0};
        size_t n;
        int rc;

        open_pair(&p);
        shake(&p, 1000);
        expect_shaken(&p);
        p.damage[_i] = p.carried[_i] + place;
        ck_assert_int_eq(sp_tls_write(p.side[_i], bytes, sizeof bytes), SP_OK);
        ck_assert(carry(&p, _i, 100000, false));
        ck_assert_uint_ge(p.carried[_i], p.damage[_i]);
        rc = sp_tls_read(p.side[!_i], got, sizeof got, &n, &error);
        if (place == 4) {
            ck_assert(rc == SP_E_CORRUPT || (rc == SP_OK && n == 0));
        } else {
            ck_assert_msg(rc == SP_E_CORRUPT, "byte %zu: %d", place, rc);
            ck_assert_ptr_nonnull(strstr(error.text, "was changed on its way"));
        }
        ck_assert_uint_eq(n, 0);
        close_pair(&p);
    }
}
END_TEST

/* One bit in the handshake: it fails, and no side takes it for the fault of a certificate, which would end a worker. */
START_TEST(test_damaged_handshake)
{
    size_t bytes;
    struct pair p;

    open_pair(&p);
    shake(&p, 1000);
    expect_shaken(&p);
    bytes = p.carried[_i];
    close_pair(&p);
    for (size_t place = 1; place <= bytes; place += place < 350 ? 1 : 23) {
        open_pair(&p);
        p.damage[_i] = place;
        shake(&p, 1000);
        for (int side = 0; side < 2; side++) {
            if (p.rc[side] == SP_OK)
                p.rc[side] = read_byte(&p, side);
            ck_assert_msg(p.rc[side] != SP_E_REJECTED, "byte %zu of side %d, side %d: %s", place, _i, side,
                          p.error[side].text);
        }
        /* The fields that say only which version a record is of are not looked at by all; and a signature is now and
         * then a byte shorter than the one before. */
        ck_assert_msg(p.rc[0] != SP_OK || p.rc[1] != SP_OK || place <= 3 || p.carried[_i] < place,
                      "byte %zu of side %d", place, _i);
        close_pair(&p);
    }
}
END_TEST

/* --- files ----------------------------------------------------------------------------------------------------------
 */

static void refuse(enum sp_tls_side side, const char *cert, const char *key, const char *ca, int code,
                   const char *words)
{
    struct sp_tls_files *files = (struct sp_tls_files *)&files;
    struct sp_tls_paths paths;
    struct sp_error error = {0};

    tls_made_paths(&paths, cert, key, ca);
    ck_assert_int_eq(sp_tls_files_load(&files, side, &paths, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_ptr_null(files);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' lacks '%s'", error.text, words);
}

START_TEST(test_files)
{
    struct sp_tls_files *files = tls_made_files(SP_TLS_SERVER, "one", "server");

    ck_assert_ptr_nonnull(strstr(sp_tls_files_words(files), "certificate of 'server' in "));
    ck_assert_ptr_nonnull(strstr(sp_tls_files_words(files), ", valid until "));
    sp_tls_files_free(files);
    sp_tls_files_free(NULL);
    refuse(SP_TLS_SERVER, "none", "one/server.key", "one/ca.crt", SP_E_IO, "cannot read the certificate in ");
    refuse(SP_TLS_SERVER, "one/server.crt", "none", "one/ca.crt", SP_E_IO, "cannot read the private key in ");
    refuse(SP_TLS_SERVER, "one/server.crt", "one/server.key", "none", SP_E_IO, "cannot read the CA's certificate in ");
    tls_made_write("empty", "", 0600);
    tls_made_write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0600);
    refuse(SP_TLS_SERVER, "empty", "one/server.key", "one/ca.crt", SP_E_RANGE, "holds no certificate in PEM");
    refuse(SP_TLS_SERVER, "broken", "one/server.key", "one/ca.crt", SP_E_RANGE, "holds no certificate in PEM");
    refuse(SP_TLS_SERVER, "one/server.crt", "empty", "one/ca.crt", SP_E_RANGE, "holds no private key in PEM");
    refuse(SP_TLS_SERVER, "one/server.crt", "one/server.crt", "one/ca.crt", SP_E_RANGE, "has mode 0644");
    refuse(SP_TLS_SERVER, "one/server.crt", "one/server.key", "empty", SP_E_RANGE, "holds no CA's certificate in PEM");
    refuse(SP_TLS_SERVER, "one/server.crt", "one/server.key", "broken", SP_E_RANGE, "holds no CA's certificate in PEM");
    refuse(SP_TLS_SERVER, ".", "one/server.key", "one/ca.crt", SP_E_RANGE, "holds no certificate in PEM");
    refuse(SP_TLS_SERVER, "one/server.crt", "one/worker.key", "one/ca.crt", SP_E_RANGE,
           "is not that of the certificate in ");
    refuse(SP_TLS_SERVER, "one/server.crt", "rsa.key", "one/ca.crt", SP_E_RANGE, "is not that of the certificate in ");
    refuse(SP_TLS_SERVER, "one/server.crt", "encrypted.key", "one/ca.crt", SP_E_RANGE,
           "nobody to ask for its password");
    refuse(SP_TLS_SERVER, "one/worker.crt", "one/worker.key", "one/ca.crt", SP_E_RANGE,
           "is not for a server: its extendedKeyUsage lacks serverAuth");
    refuse(SP_TLS_CLIENT, "one/server.crt", "one/server.key", "one/ca.crt", SP_E_RANGE,
           "is not for a worker or operator: its extendedKeyUsage lacks clientAuth");
    refuse(SP_TLS_CLIENT, "expired.crt", "rsa.key", "one/ca.crt", SP_E_RANGE, "expired on ");
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("tls");
    int rc;

    tls_made_begin();
    tcase_add_loop_test(tests, test_handshake_in_pieces, 0, 7);
    tcase_add_test(tests, test_writes_and_reads);
    tcase_add_test(tests, test_unread);
    tcase_add_test(tests, test_room_grows_to_a_bound);
    tcase_add_test(tests, test_out_has_a_bound);
    tcase_add_test(tests, test_end);
    tcase_add_test(tests, test_exporter);
    tcase_add_test(tests, test_roles);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_another_ca);
    tcase_add_test(tests, test_plain_bytes);
    tcase_add_test(tests, test_a_handshake_has_a_bound);
    tcase_add_loop_test(tests, test_damaged_byte, 0, 2);
    tcase_add_loop_test(tests, test_damaged_handshake, 0, 2);
    tcase_add_test(tests, test_files);
    rc = unit_run(suite_create("tls"), tests);
    tls_made_end();
    return rc;
}
