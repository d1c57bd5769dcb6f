/* Numbers on the wire and in files, little-endian, and the checksum of bulk bytes, CRC-32C. */
#pragma once

#include <endian.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void sp_put16(uint8_t *at, uint16_t value)
{
    value = htole16(value);
    memcpy(at, &value, sizeof value);
}

static inline void sp_put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static inline void sp_put64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static inline uint16_t sp_get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return le16toh(value);
}

static inline uint32_t sp_get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static inline uint64_t sp_get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

/* isa-l goes through CRC-32C at twice the speed of gzip's. Its function leaves the exclusive-ors to the caller, takes
 * an int, and bytes that are not const, but does not write them. */
static inline uint32_t sp_crc32c(const void *bytes, uint64_t count)
{
    const uint8_t *at = bytes;
    uint32_t crc = UINT32_MAX;

    while (count > 0) {
        const int n = count < INT_MAX ? (int)count : INT_MAX;

        crc = crc32_iscsi((unsigned char *)at, n, crc);
        at += n;
        count -= (uint64_t)n;
    }
    return ~crc;
}
