/* Proof that a side holds the shared secret, without sending it: HMAC-SHA256 over what both sides have said.
 *
 * The input of the HMAC, byte by byte, numbers little-endian:
 *
 *     bytes  what
 *     8      "SGNPAUTH"
 *     1      protocol version
 *     1      who proves: 0 the client, 1 the server
 *     1      role in the HELLO: 0 worker, 1 operator, 2 probe
 *     1      0
 *     32     the client's nonce, from its HELLO
 *     32     the server's nonce, from its CHALLENGE
 *     4      wanted_slot of the HELLO (slot + 1, or 0 for any)
 *     8      layout_digest of the HELLO
 *     4, n   bytes in the job's name, and the name, of the HELLO
 *     4, n   bytes of the TLS exporter, and the exporter; 4 zero bytes without TLS
 *
 * Neither proof can be had by reflecting the other, since they differ in who proves; nor by replaying an old one, since
 * each side chose a fresh nonce; nor can a worker's serve an operator; nor can, with TLS, one be carried on to another
 * connection by somebody in between.
 */
#pragma once

#include "common/secret.h"
#include "common/tls.h"
#include "proto/codec.h"

/* What a proof is bound to besides what was said: the TLS connection that it travels in. */
struct sp_channel {
    uint32_t bytes; /* 0: no TLS */
    uint8_t exporter[SP_TLS_EXPORTER_BYTES];
};

/* `tls` is NULL without TLS. SP_E_NOMEM. */
int sp_channel_of(const struct sp_tls *tls, struct sp_channel *channel);

enum sp_prover { SP_PROVER_CLIENT = 0, SP_PROVER_SERVER = 1 };

/* `hello` must have a nonce. SP_E_NOMEM if OpenSSL has no memory. */
int sp_proof_make(const struct sp_secret *secret, enum sp_prover prover, const struct sp_hello *hello,
                  const uint8_t server_nonce[SP_NONCE_BYTES], const struct sp_channel *channel,
                  uint8_t proof[SP_PROOF_BYTES]);

/* Compare in a time that does not tell where they differ. */
bool sp_proof_equal(const uint8_t a[SP_PROOF_BYTES], const uint8_t b[SP_PROOF_BYTES]);
bool sp_ticket_equal(const uint8_t a[SP_TICKET_BYTES], const uint8_t b[SP_TICKET_BYTES]);
