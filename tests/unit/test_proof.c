/* Proofs, with Python's hmac as the second opinion. The expected ones are from
 *
 *     python3 -c '
 *     import hmac, struct
 *     def proof(secret, prover, role, slot, digest, job, client=bytes(range(100, 132)), server=bytes(range(200, 232))):
 *         text = b"SGNPAUTH" + bytes([4, prover, role, 0]) + client + server
 *         text += struct.pack("<IQI", slot, digest, len(job)) + job + bytes(4)
 *         print(hmac.new(secret, text, "sha256").hexdigest())
 *     proof(bytes(range(32)), 0, 0, 3, 0x0123456789abcdef, b"digits")
 *     proof(bytes(range(32)), 1, 0, 3, 0x0123456789abcdef, b"digits")
 *     proof(bytes(i % 251 for i in range(1024)), 0, 1, 0, 0, b"x" * 63)
 *     proof(b"\xff" * 65, 1, 1, 255, 2**64 - 1, b"")'
 */
#include "proto/proof.h"
#include "unit.h"

#include <signal.h>

static struct sp_secret secret;
static struct sp_hello hello;
static uint8_t server_nonce[SP_NONCE_BYTES];
static struct sp_channel channel;
static enum sp_prover prover;

static void setup(void)
{
    memset(&secret, 0, sizeof secret);
    memset(&hello, 0, sizeof hello);
    memset(&channel, 0, sizeof channel);
    secret.bytes = 32;
    for (unsigned i = 0; i < 32; i++) {
        secret.data[i] = (uint8_t)i;
        hello.nonce[i] = (uint8_t)(100 + i);
        server_nonce[i] = (uint8_t)(200 + i);
    }
    (void)strcpy(hello.job, "digits");
    hello.role = SP_ROLE_WORKER;
    hello.layout_digest = UINT64_C(0x0123456789abcdef);
    hello.wanted_slot = 2;
    hello.has_nonce = true;
    prover = SP_PROVER_CLIENT;
}

static void make(uint8_t *proof)
{
    memset(proof, 0xee, SP_PROOF_BYTES);
    ck_assert_int_eq(sp_proof_make(&secret, prover, &hello, server_nonce, &channel, proof), SP_OK);
}

static void expect(const char *digits)
{
    uint8_t proof[SP_PROOF_BYTES];
    char text[2 * SP_PROOF_BYTES + 1];

    make(proof);
    for (unsigned i = 0; i < SP_PROOF_BYTES; i++) {
        text[2 * i] = "0123456789abcdef"[proof[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[proof[i] & 15];
    }
    text[sizeof text - 1] = '\0';
    ck_assert_str_eq(text, digits);
}

START_TEST(test_of_client_and_server)
{
    expect("187ccf9e57fd3a810d50f29a02ffbdfa67a7f8a9e7f58abcdbb24ff984dbcae0");
    prover = SP_PROVER_SERVER;
    expect("eaa33b88f71966fef15cef3aeb4fc921640940db849a5141973b381c58b1f836");
}
END_TEST

/* The vector of proto/README.md. */
START_TEST(test_of_a_connection_with_tls)
{
    for (unsigned i = 0; i < 32; i++) {
        hello.nonce[i] = (uint8_t)(0xa0 + i);
        server_nonce[i] = (uint8_t)(0x40 + i);
        channel.exporter[i] = (uint8_t)(0xe0 + i);
    }
    hello.layout_digest = UINT64_C(0x8bc1af6d435e51e4);
    hello.wanted_slot = SP_ANY_SLOT;
    channel.bytes = sizeof channel.exporter;
    expect("b0e84ec947c35bb1d2e25d869696de7f281cf0209d6b6b3e26b3eb70b442924d");
}
END_TEST

/* The longest secret and job's name, no slot, an operator. */
START_TEST(test_of_the_longest)
{
    secret.bytes = SP_SECRET_BYTES_MAX;
    for (unsigned i = 0; i < SP_SECRET_BYTES_MAX; i++)
        secret.data[i] = (uint8_t)(i % 251);
    memset(hello.job, 'x', 63);
    hello.role = SP_ROLE_OPERATOR;
    hello.wanted_slot = SP_ANY_SLOT;
    hello.layout_digest = 0;
    expect("9db6a770139dde84c3c9d63554c9a27be2a6aa591a309b8de3b25878299068aa");
}
END_TEST

/* The largest numbers and no name; a secret just longer than HMAC's block. */
START_TEST(test_of_the_largest)
{
    secret.bytes = 65;
    memset(secret.data, 0xff, 65);
    hello.job[0] = '\0';
    hello.role = SP_ROLE_OPERATOR;
    hello.wanted_slot = SP_SLOTS_MAX - 1;
    hello.layout_digest = UINT64_MAX;
    prover = SP_PROVER_SERVER;
    expect("2b7d8efec0d04d50f6e51c508ec2050a6b41a327b21834885e461bb319ed8212");
}
END_TEST

/* --- what changes it ------------------------------------------------------------------------------------------------
 */

#define PROOFS_MAX 400

static uint8_t proofs[PROOFS_MAX][SP_PROOF_BYTES];
static unsigned proofs_count;

/* The proof as things are now must be another than all before it. */
static void another(const char *what)
{
    unit_assert(proofs_count < PROOFS_MAX, "no room");
    make(proofs[proofs_count]);
    for (unsigned i = 0; i < proofs_count; i++)
        unit_assert(!sp_proof_equal(proofs[i], proofs[proofs_count]), "%s does not change the proof", what);
    proofs_count++;
    setup();
}

/* Every bit of both nonces, of the secret, of the slot and the digest; the prover, the role, the name. */
START_TEST(test_everything_changes_it)
{
    static const char *const jobs[] = {"", "d", "digit", "digitt", "digits2", "Digits", "sdigit"};

    proofs_count = 0;
    another("nothing");
    prover = SP_PROVER_SERVER;
    another("the prover");
    hello.role = SP_ROLE_OPERATOR;
    another("the role");
    hello.role = SP_ROLE_OPERATOR;
    prover = SP_PROVER_SERVER;
    another("role and prover");
    for (unsigned i = 0; i < SP_NONCE_BYTES; i++) {
        hello.nonce[i] ^= (uint8_t)(1u << i % 8);
        another("the client's nonce");
        server_nonce[i] ^= (uint8_t)(1u << i % 8);
        another("the server's nonce");
        secret.data[i] ^= (uint8_t)(1u << i % 8);
        another("the secret");
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        hello.layout_digest ^= UINT64_C(1) << bit;
        another("the digest");
    }
    for (int slot = -1; slot < 100; slot++) {
        hello.wanted_slot = slot;
        if (slot != 2)
            another("the slot");
    }
    for (unsigned i = 0; i < UNIT_COUNT(jobs); i++) {
        memset(hello.job, 0, sizeof hello.job);
        (void)strcpy(hello.job, jobs[i]);
        another("the job");
    }
    secret.data[32] = 1;
    secret.bytes = 33;
    another("a longer secret");
}
END_TEST

/* Nonces that change places: a server that sends the client's own nonce back has no proof of it. */
START_TEST(test_nonces_do_not_change_places)
{
    uint8_t proof[SP_PROOF_BYTES], other[SP_PROOF_BYTES], nonce[SP_NONCE_BYTES];

    make(proof);
    memcpy(nonce, hello.nonce, sizeof nonce);
    memcpy(hello.nonce, server_nonce, sizeof nonce);
    memcpy(server_nonce, nonce, sizeof nonce);
    make(other);
    ck_assert(!sp_proof_equal(proof, other));
    memcpy(hello.nonce, server_nonce, sizeof nonce);
    make(proof);
    prover = SP_PROVER_SERVER;
    make(other);
    ck_assert(!sp_proof_equal(proof, other));
}
END_TEST

/* What stands after the end of the name, or of the secret, is not in it; nor is the program, which is for the log. */
START_TEST(test_what_does_not_change_it)
{
    uint8_t proof[SP_PROOF_BYTES], other[SP_PROOF_BYTES];

    make(proof);
    memset(hello.job + strlen(hello.job) + 1, 'x', 10);
    memset(secret.data + 32, 0xff, 10);
    (void)strcpy(hello.program, "another");
    make(other);
    ck_assert(sp_proof_equal(proof, other));
}
END_TEST

START_TEST(test_equal)
{
    uint8_t a[SP_PROOF_BYTES], b[SP_PROOF_BYTES];

    make(a);
    memcpy(b, a, sizeof b);
    ck_assert(sp_proof_equal(a, b));
    for (unsigned bit = 0; bit < 8 * SP_PROOF_BYTES; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert(!sp_proof_equal(a, b) && !sp_proof_equal(b, a));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

/* Our own mistakes: a proof for who has no nonce, or with no secret worth the name. */
START_TEST(test_proof_of_nothing_aborts)
{
    if (_i == 0)
        hello.has_nonce = false;
    else
        secret.bytes = _i == 1 ? 0 : SP_SECRET_BYTES_MIN - 1;
    make(proofs[0]);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("proof");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_of_client_and_server);
    tcase_add_test(tests, test_of_a_connection_with_tls);
    tcase_add_test(tests, test_of_the_longest);
    tcase_add_test(tests, test_of_the_largest);
    tcase_add_test(tests, test_everything_changes_it);
    tcase_add_test(tests, test_nonces_do_not_change_places);
    tcase_add_test(tests, test_what_does_not_change_it);
    tcase_add_test(tests, test_equal);
    tcase_add_loop_test_raise_signal(tests, test_proof_of_nothing_aborts, SIGABRT, 0, 3);
    return unit_run(suite_create("proof"), tests);
}
