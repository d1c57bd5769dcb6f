#include "tests/unit/journal_made.h"

#include "proto/frame.h"
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BODY_BYTES_MAX 300
#define STATE_BYTES 40

int journal_write_fails = -1, journal_sync_fails = -1, journal_grow_fails = -1;
unsigned journal_writes, journal_syncs, journal_grows;
size_t journal_short_write;
unsigned journal_failures, journal_progresses;
struct sp_error journal_words;
void (*journal_on_progress)(void);
struct sp_journal_scan journal_scan;
struct sp_error journal_read_words;

static uv_loop_t loop;
static struct sp_disk *disk;
static struct sp_journal *made;
static struct sp_buffers pool = {.kept_max = 1000};

/* --- calls that fail -------------------------------------------------------------------------------------------------
 */

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool fails(unsigned *calls, const int *from)
{
    return *from >= 0 && (int)__atomic_fetch_add(calls, 1, __ATOMIC_RELAXED) >= *from;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (journal_write_fails < 0)
        (void)__atomic_fetch_add(&journal_writes, 1, __ATOMIC_RELAXED);
    if (!fails(&journal_writes, &journal_write_fails))
        return NEXT(writev)(fd, parts, count);
    if (journal_short_write > 0 && parts[0].iov_len > 0) {
        size_t bytes = journal_short_write < parts[0].iov_len ? journal_short_write : parts[0].iov_len;

        journal_short_write -= bytes;
        return write(fd, parts[0].iov_base, bytes);
    }
    errno = ENOSPC;
    return -1;
}

int fdatasync(int fd)
{
    if (journal_sync_fails < 0)
        (void)__atomic_fetch_add(&journal_syncs, 1, __ATOMIC_RELAXED);
    if (!fails(&journal_syncs, &journal_sync_fails))
        return NEXT(fdatasync)(fd);
    errno = EIO;
    return -1;
}

void *reallocarray(void *old, size_t count, size_t bytes)
{
    if (journal_grow_fails < 0)
        (void)__atomic_fetch_add(&journal_grows, 1, __ATOMIC_RELAXED);
    return fails(&journal_grows, &journal_grow_fails) ? NULL : NEXT(reallocarray)(old, count, bytes);
}

/* --- the journal -----------------------------------------------------------------------------------------------------
 */

static void on_progress(void *owner)
{
    ck_assert_ptr_eq(owner, &made);
    journal_progresses++;
    if (journal_on_progress != NULL)
        journal_on_progress();
}

static void on_failed(void *owner, const struct sp_error *error)
{
    ck_assert_ptr_eq(owner, &made);
    ck_assert(!sp_journal_is_well(made));
    journal_failures++;
    journal_words = *error;
}

void journal_open(const char *folder, uint64_t run, enum sp_fsync fsync)
{
    static const struct sp_journal_events events = {.progress = on_progress, .failed = on_failed};
    struct sp_error error;

    journal_failures = journal_progresses = 0;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_msg(sp_disk_start(&disk, &loop, &error) == SP_OK, "%s", error.text);
    ck_assert_msg(sp_journal_create(&made, disk, folder, run, fsync, &events, &made, &error) == SP_OK, "%s",
                  error.text);
}

void journal_wait(void)
{
    while (sp_disk_is_busy(disk))
        (void)uv_run(&loop, UV_RUN_ONCE);
}

void journal_close(void)
{
    sp_disk_stop(disk);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    sp_journal_destroy(made);
    made = NULL;
    sp_buffers_finish(&pool);
}

struct sp_journal *journal(void)
{
    return made;
}

/* --- what is in a round ----------------------------------------------------------------------------------------------
 */

unsigned journal_entries(uint32_t round)
{
    return 2 + round % 3;
}

/* Entry i of a round; i = journal_entries() is its COMMIT. Every fourth round has gradients before its chunks. */
static struct sp_entry make_entry(uint32_t round, unsigned i, uint8_t body[BODY_BYTES_MAX])
{
    struct sp_entry entry = {.type = SP_ENTRY_CHUNK, .round = round, .first = (uint64_t)i << 30};
    struct sp_rng rng = unit_rng((uint64_t)round << 8 | i);

    entry.bytes = 1 + sp_rng_below(&rng, 60);
    if (i == journal_entries(round)) {
        entry.type = SP_ENTRY_COMMIT;
        entry.first = 0;
        entry.bytes = round % 2 == 0 ? STATE_BYTES : 0;
    } else {
        entry.count = 8 * entry.bytes;
        entry.voters = round % 7;
        entry.flags = i + 1 == journal_entries(round) ? SP_FRAME_LAST | SP_FRAME_FULL : 0;
    }
    if (round % 4 == 0 && i == 0)
        entry.type = SP_ENTRY_GRADIENT;
    if (round % 4 == 0 && i == 1)
        entry.first = 0;
    for (uint32_t b = 0; b < entry.bytes; b++)
        body[b] = (uint8_t)sp_rng_next(&rng);
    return entry;
}

void journal_add(uint32_t round, unsigned first, unsigned count)
{
    uint8_t body[BODY_BYTES_MAX];

    for (unsigned i = first; i < first + count; i++) {
        struct sp_entry entry = make_entry(round, i, body);
        struct sp_buffer *hold = entry.type == SP_ENTRY_CHUNK ? sp_buffer_take(&pool) : NULL;

        if (hold != NULL)
            memcpy(hold->data, body, entry.bytes);
        unit_assert(sp_journal_add(made, &entry, hold != NULL ? hold->data : body, hold) == SP_OK, "not taken");
        sp_buffer_release(hold);
        memset(body, 0xee, sizeof body); /* copied, or held elsewhere */
    }
}

void journal_commit(uint32_t round)
{
    uint8_t state[BODY_BYTES_MAX];
    struct sp_entry entry = make_entry(round, journal_entries(round), state);

    unit_assert(sp_journal_commit(made, round, state, entry.bytes) == SP_OK, "not taken");
}

void journal_rounds(uint32_t from, uint32_t to)
{
    for (uint32_t round = from; round <= to; round++) {
        journal_add(round, 0, journal_entries(round));
        journal_commit(round);
    }
}

/* --- reading ---------------------------------------------------------------------------------------------------------
 */

struct expected {
    uint32_t round;
    unsigned entry;
};

static int compare(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    struct expected *next = arg;
    uint8_t wanted[BODY_BYTES_MAX];
    struct sp_entry e = make_entry(next->round, next->entry, wanted);

    (void)error;
    unit_assert(entry->type == e.type && entry->flags == e.flags && entry->round == e.round && entry->count == e.count,
                "entry %u of round %u is not what was written", next->entry, next->round);
    unit_assert(entry->first == e.first && entry->bytes == e.bytes && entry->voters == e.voters,
                "entry %u of round %u is not what was written", next->entry, next->round);
    unit_assert((uintptr_t)body % 8 == 0 && memcmp(body, wanted, e.bytes) == 0,
                "the body of entry %u of round %u is not what was written", next->entry, next->round);
    if (next->entry++ == journal_entries(next->round))
        *next = (struct expected){.round = next->round + 1};
    return SP_OK;
}

int journal_read(const char *folder, uint64_t run, uint32_t after, uint32_t to)
{
    struct expected next = {.round = after + 1};
    int rc;

    memset(&journal_read_words, 0, sizeof journal_read_words);
    rc = sp_journal_read(folder, run, after, to, compare, &next, &journal_scan, &journal_read_words);
    unit_assert(next.entry == 0, "a record that is not complete was taken");
    unit_assert(journal_scan.last == (next.round == after + 1 ? 0 : next.round - 1),
                "the last record was %u, but the scan says %u", next.round - 1, journal_scan.last);
    return rc;
}

void journal_expect(const char *folder, uint32_t after, uint32_t last)
{
    ck_assert_msg(journal_read(folder, JOURNAL_RUN, after, UINT32_MAX) == SP_OK, "%s", journal_read_words.text);
    ck_assert_uint_eq(journal_scan.last, last);
    ck_assert(!journal_scan.torn && !journal_scan.gap && !journal_scan.more);
}

const char *journal_path(const char *folder, uint32_t round)
{
    static char path[2][400];
    static unsigned next;
    char *mine = path[next++ % 2];

    (void)snprintf(mine, sizeof path[0], "%s/%010u.journal", folder, round);
    return mine;
}

size_t journal_size(const char *path)
{
    struct stat status;

    ck_assert_msg(stat(path, &status) == 0, "no %s", path);
    return (size_t)status.st_size;
}

size_t journal_load(const char *path, void *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t count;

    ck_assert_msg(file != NULL, "no %s", path);
    count = fread(bytes, 1, room, file);
    (void)fclose(file);
    ck_assert_uint_lt(count, room);
    return count;
}

void journal_store(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    ck_assert_msg(file != NULL, "cannot write %s", path);
    unit_assert(fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "cannot write %s", path);
}
