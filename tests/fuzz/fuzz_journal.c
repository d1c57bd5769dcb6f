/* libFuzzer target: any bytes as a journal of up to two segments. What is taken of them is in order, and once the
 * folder is mended it is taken again, and nothing is wrong with it.
 *
 * The first two bytes say where the second segment begins; what a header must have is put in its place, so that the
 * fuzzer need not find it. Checksums are put right in entries whose head has none (0), for the same reason.
 */
#include "common/check.h"
#include "folder.h"
#include "server/journal_format.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN 7
#define SECOND 2 /* the round that the second segment follows */
#define BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a disk does is not what is looked at, and would take most of the time. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

struct seen {
    uint32_t round;
    unsigned entries, sum;
};

static const char *path_of(uint32_t round, const char *suffix)
{
    static char path[2][80];
    static unsigned next;
    char *mine = path[next++ % 2];

    (void)snprintf(mine, sizeof path[0], "%s/%010u.journal%s", folder, round, suffix);
    return mine;
}

/* Entries whose checksum is 0 get theirs, one after the other for as long as they are in order. */
static void put_checksums(uint8_t *bytes, size_t size)
{
    size_t at = SP_SEGMENT_HEADER_BYTES;

    while (at < size && size - at >= SP_ENTRY_HEAD_BYTES) {
        uint8_t *head = bytes + at;
        uint32_t body = sp_get32(head + 24);

        if (sp_get32(head + SP_ENTRY_CRC_AT) != 0 || sp_entry_size(body) > size - at)
            return;
        sp_put32(head, SP_ENTRY_MAGIC);
        sp_put32(head + 32, sp_crc32c(head + SP_ENTRY_HEAD_BYTES, body));
        sp_put32(head + SP_ENTRY_CRC_AT, sp_crc32c(head, SP_ENTRY_CRC_AT));
        at += sp_entry_size(body);
    }
}

static void write_segment(uint32_t round, const uint8_t *data, size_t size)
{
    static uint8_t bytes[SP_SEGMENT_HEADER_BYTES + BYTES_MAX];
    int fd = open(path_of(round, ""), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    sp_segment_encode(round, RUN, bytes);
    memcpy(bytes + SP_SEGMENT_HEADER_BYTES, data, size);
    size += SP_SEGMENT_HEADER_BYTES;
    put_checksums(bytes, size);
    sp_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
}

static int take(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    struct seen *seen = arg;

    (void)error;
    sp_assert(entry->round == seen->round + 1 && (uintptr_t)body % 8 == 0);
    sp_assert(entry->bytes <= sp_entry_bytes_max(entry->type));
    for (uint32_t i = 0; i < entry->bytes; i++)
        seen->sum += ((const uint8_t *)body)[i];
    seen->entries++;
    seen->round += entry->type == SP_ENTRY_COMMIT;
    return SP_OK;
}

static struct seen read_all(struct sp_journal_scan *scan)
{
    struct seen seen = {0};
    struct sp_error error = {0};

    sp_assert(sp_journal_read(folder, RUN, 0, UINT32_MAX, take, &seen, scan, &error) == SP_OK);
    sp_assert(scan->last == seen.round);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_journal_scan scan;
    struct sp_error error;
    struct seen first, second;
    size_t cut;

    if (size < 2 || size > BYTES_MAX)
        return 0;
    make_folder();
    cut = sp_get16(data);
    size -= 2;
    write_segment(0, data + 2, cut < size ? cut : size);
    if (cut < size)
        write_segment(SECOND, data + 2 + cut, size - cut);
    first = read_all(&scan);
    sp_assert(sp_journal_mend(folder, &scan, &error) == SP_OK);
    second = read_all(&scan);
    sp_assert(!scan.torn && !scan.gap && !scan.more);
    sp_assert(memcmp(&first, &second, sizeof first) == 0);
    (void)unlink(path_of(0, ""));
    (void)unlink(path_of(0, ".damaged"));
    (void)unlink(path_of(SECOND, ""));
    (void)unlink(path_of(SECOND, ".damaged"));
    return 0;
}
