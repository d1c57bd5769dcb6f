#include "proto/proof.h"

#include "common/check.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define LABEL "SGNPAUTH"
#define INPUT_BYTES_MAX 256

struct input {
    size_t used;
    uint8_t bytes[INPUT_BYTES_MAX];
};

static void put(struct input *input, const void *bytes, size_t count)
{
    sp_assert(count <= sizeof input->bytes - input->used);
    memcpy(input->bytes + input->used, bytes, count);
    input->used += count;
}

static void put8(struct input *input, uint8_t value)
{
    put(input, &value, 1);
}

static void put32(struct input *input, uint32_t value)
{
    value = htole32(value);
    put(input, &value, sizeof value);
}

static void put64(struct input *input, uint64_t value)
{
    value = htole64(value);
    put(input, &value, sizeof value);
}

int sp_channel_of(const struct sp_tls *tls, struct sp_channel *channel)
{
    memset(channel, 0, sizeof *channel);
    if (tls == NULL)
        return SP_OK;
    channel->bytes = sizeof channel->exporter;
    return sp_tls_exporter(tls, channel->exporter);
}

int sp_proof_make(const struct sp_secret *secret, enum sp_prover prover, const struct sp_hello *hello,
                  const uint8_t server_nonce[SP_NONCE_BYTES], const struct sp_channel *channel,
                  uint8_t proof[SP_PROOF_BYTES])
{
    struct input input = {0};
    uint32_t name_bytes = (uint32_t)strnlen(hello->job, sizeof hello->job);
    unsigned bytes = SP_PROOF_BYTES;

    sp_assert(hello->has_nonce && secret->bytes >= SP_SECRET_BYTES_MIN);
    put(&input, LABEL, 8);
    put8(&input, SP_FRAME_VERSION);
    put8(&input, (uint8_t)prover);
    put8(&input, (uint8_t)hello->role);
    put8(&input, 0);
    put(&input, hello->nonce, SP_NONCE_BYTES);
    put(&input, server_nonce, SP_NONCE_BYTES);
    put32(&input, (uint32_t)(hello->wanted_slot + 1));
    put64(&input, hello->layout_digest);
    put32(&input, name_bytes);
    put(&input, hello->job, name_bytes);
    put32(&input, channel->bytes);
    put(&input, channel->exporter, channel->bytes);
    if (HMAC(EVP_sha256(), secret->data, (int)secret->bytes, input.bytes, input.used, proof, &bytes) == NULL)
        return SP_E_NOMEM;
    sp_assert(bytes == SP_PROOF_BYTES);
    return SP_OK;
}

bool sp_proof_equal(const uint8_t a[SP_PROOF_BYTES], const uint8_t b[SP_PROOF_BYTES])
{
    return CRYPTO_memcmp(a, b, SP_PROOF_BYTES) == 0;
}

bool sp_ticket_equal(const uint8_t a[SP_TICKET_BYTES], const uint8_t b[SP_TICKET_BYTES])
{
    return CRYPTO_memcmp(a, b, SP_TICKET_BYTES) == 0;
}
