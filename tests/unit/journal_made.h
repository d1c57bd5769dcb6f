/* Journals that the tests of them make and read back: what is in a round follows from its number alone. */
#pragma once

#include "server/journal.h"

#define JOURNAL_RUN UINT64_C(0x0123456789abcdef)

/* What fails, from the n-th call on (from 0) while it is not negative; and how often each was called. */
extern int journal_write_fails, journal_sync_fails, journal_grow_fails;
extern unsigned journal_writes, journal_syncs, journal_grows;
/* Bytes that a write that fails writes nevertheless. */
extern size_t journal_short_write;

/* A journal in the folder, with a loop and a thread of its own. */
void journal_open(const char *folder, uint64_t run, enum sp_fsync fsync);
/* Lets the loop turn until the thread has nothing to do. */
void journal_wait(void);
/* Ends all of it. */
void journal_close(void);
struct sp_journal *journal(void);
/* Calls of the events since it was opened, and the words of the last failure. */
extern unsigned journal_failures, journal_progresses;
extern struct sp_error journal_words;
extern void (*journal_on_progress)(void);

/* The entries of round r, without its COMMIT; of these those from `first` on. */
unsigned journal_entries(uint32_t round);
void journal_add(uint32_t round, unsigned first, unsigned count);
void journal_commit(uint32_t round);
/* Rounds from..to, whole. */
void journal_rounds(uint32_t from, uint32_t to);

/* Reads what is there, and compares each record with what journal_rounds() writes: they must be of rounds
 * after+1..last, all of them. Answers the code; the scan and the words are left here. */
int journal_read(const char *folder, uint64_t run, uint32_t after, uint32_t to);
extern struct sp_journal_scan journal_scan;
extern struct sp_error journal_read_words;
/* The same where nothing may be wrong: up to `last`. */
void journal_expect(const char *folder, uint32_t after, uint32_t last);

/* The path of a segment; one of two static buffers. */
const char *journal_path(const char *folder, uint32_t round);
size_t journal_size(const char *path);
/* The whole of a file, and a file of these bytes. */
size_t journal_load(const char *path, void *bytes, size_t room);
void journal_store(const char *path, const void *bytes, size_t count);
