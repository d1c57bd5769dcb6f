/* HOST:PORT as text, and what it resolves to. */
#pragma once

#include "common/error.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define SP_ADDRESSES_MAX 16
#define SP_ADDRESS_TEXT_BYTES 80

struct sp_address {
    char host[256]; /* without the brackets of an IPv6 address */
    char port[8];
};

/* Takes "host:port", "1.2.3.4:port", "[::1]:port". The port is 0 to 65535. */
int sp_address_parse(const char *text, struct sp_address *address, struct sp_error *error);

/* Resolves a name with getaddrinfo(), which may block for as long as the resolver does. Fills in up to
 * SP_ADDRESSES_MAX addresses and their number (at least 1 on success). */
int sp_address_resolve(const struct sp_address *address, bool passive, struct sockaddr_storage *found, size_t *count,
                       struct sp_error *error);

/* Whether only this machine can reach it: 127.0.0.0/8, ::1, and the former written as IPv6. */
bool sp_address_is_loopback(const struct sockaddr *address);

/* What one holder of addresses has in common: of IPv4 the address, of IPv6 its first 64 bits. */
uint64_t sp_address_group(const struct sockaddr *address);

/* "127.0.0.1:7700", "[::1]:7700". */
void sp_address_text(const struct sockaddr *address, char text[SP_ADDRESS_TEXT_BYTES]);
