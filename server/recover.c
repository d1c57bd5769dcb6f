#include "server/recover.h"

#include "server/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1300
#define CHECKPOINTS_MAX 1024

void sp_recover_paths(const char *folder, char *checkpoints, char *journal, size_t bytes)
{
    (void)snprintf(checkpoints, bytes, "%s/checkpoint", folder);
    (void)snprintf(journal, bytes, "%s/journal", folder);
}

static void __attribute__((format(printf, 3, 4)))
say(const struct sp_recover_options *options, bool bad, const char *format, ...)
{
    char line[SP_ERROR_TEXT_BYTES + PATH_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (options->say != NULL)
        options->say(options->arg, bad, line);
}

/* --- the end of a run ------------------------------------------------------------------------------------------------
 */

static void finished_path(const char *folder, char *path, size_t bytes)
{
    (void)snprintf(path, bytes, "%s/checkpoint/finished", folder);
}

int sp_recover_finish(const char *folder, uint64_t run, struct sp_error *error)
{
    char path[PATH_BYTES], text[32];
    int length = snprintf(text, sizeof text, "%016llx\n", (unsigned long long)run);

    finished_path(folder, path, sizeof path);
    return sp_files_replace(path, 0600, &(struct iovec){text, (size_t)length}, 1, error);
}

static bool is_finished(const char *folder, uint64_t run)
{
    char path[PATH_BYTES];
    unsigned long long of = 0;
    FILE *file;

    finished_path(folder, path, sizeof path);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fscanf(file, "%16llx", &of) != 1)
        of = 0;
    (void)fclose(file);
    return of == run;
}

/* All files but the one called `last`. */
static int empty_folder(const char *path, const char *last, struct sp_error *error)
{
    DIR *folder = opendir(path);
    int rc = SP_OK;

    if (folder == NULL)
        return errno == ENOENT ? SP_OK : sp_files_error(error, "read", path);
    for (struct dirent *entry = readdir(folder); entry != NULL && rc == SP_OK; entry = readdir(folder)) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, last) == 0)
            continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            rc = sp_error_set(error, SP_E_IO, "cannot delete %s/%s of an earlier run: %s", path, entry->d_name,
                              strerror(errno));
    }
    (void)closedir(folder);
    return rc;
}

int sp_recover_forget(const char *folder, struct sp_error *error)
{
    char checkpoints[PATH_BYTES], journal[PATH_BYTES];
    int rc;

    sp_recover_paths(folder, checkpoints, journal, sizeof checkpoints);
    rc = empty_folder(journal, "", error);
    if (rc == SP_OK)
        rc = empty_folder(checkpoints, "finished", error);
    return rc == SP_OK ? empty_folder(checkpoints, "", error) : rc;
}

int sp_recover_set_aside(const char *folder, uint32_t round, struct sp_error *error)
{
    char checkpoints[PATH_BYTES], journal[PATH_BYTES], from[PATH_BYTES + 64], to[PATH_BYTES + 80];
    uint32_t newest;
    int count;

    sp_recover_paths(folder, checkpoints, journal, sizeof checkpoints);
    count = sp_checkpoint_list(checkpoints, &newest, 1, error);
    while (count > 0 && newest > round) {
        sp_checkpoint_path(checkpoints, newest, from, sizeof from);
        (void)snprintf(to, sizeof to, "%s.damaged", from);
        if (rename(from, to) != 0)
            return sp_files_error(error, "rename", from);
        count = sp_checkpoint_list(checkpoints, &newest, 1, error);
    }
    return count >= 0 ? SP_OK : SP_E_IO;
}

int sp_recover_drop_journal(const char *folder, struct sp_error *error)
{
    char checkpoints[PATH_BYTES], journal[PATH_BYTES];

    sp_recover_paths(folder, checkpoints, journal, sizeof checkpoints);
    return empty_folder(journal, "", error);
}

/* --- one checkpoint --------------------------------------------------------------------------------------------------
 */

struct attempt {
    const struct sp_recover_options *options;
    struct sp_recovery *out;
    char checkpoints[PATH_BYTES], journal[PATH_BYTES];
    struct sp_job job; /* of the checkpoint */
};

static int compare_jobs(const struct attempt *attempt, struct sp_error *error)
{
    char ours[SP_VALUE_BYTES], theirs[SP_VALUE_BYTES];

    for (size_t i = 0; attempt->options->job != NULL && i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        if (!(key->flags & SP_KEY_PLAN))
            continue;
        sp_job_get(attempt->options->job, key, ours, sizeof ours);
        sp_job_get(&attempt->job, key, theirs, sizeof theirs);
        if (strcmp(ours, theirs) != 0)
            return sp_error_set(
                error, SP_E_MISMATCH,
                "%s holds a run of job '%s' that did not come to its end, with %s %s, now it is %s; give "
                "this run a folder of its own with --out, the job its old settings to go on, or --fresh "
                "to begin anew",
                attempt->options->folder, attempt->job.job, key->path, theirs, ours);
    }
    return SP_OK;
}

static int take_entry(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    return sp_round_replay(arg, entry, body, error);
}

/* From the checkpoint up to round `to`; *last is how far it came when the journal turned out to be damaged. */
static int replay(struct attempt *attempt, const struct sp_checkpoint *checkpoint, uint32_t to, uint32_t *last,
                  struct sp_error *error)
{
    struct sp_recovery *out = attempt->out;
    const struct sp_job *job = attempt->options->job != NULL ? attempt->options->job : &attempt->job;
    int rc = sp_round_create(&out->round, job);

    *last = checkpoint->round;
    if (rc != SP_OK)
        return rc;
    sp_round_keep(out->round, checkpoint->run, job->server.journal.enabled);
    rc = sp_round_restore(out->round, checkpoint, error);
    if (rc != SP_OK)
        return rc;
    memset(&out->scan, 0, sizeof out->scan);
    if (to > checkpoint->round)
        rc = sp_journal_read(attempt->journal, checkpoint->run, checkpoint->round, to, take_entry, out->round,
                             &out->scan, error);
    *last = sp_round_committed(out->round);
    return rc;
}

static void drop_round(struct sp_recovery *out)
{
    sp_round_destroy(out->round);
    out->round = NULL;
}

/* A record that cannot be replayed ends what the journal gives, as a damaged one does. */
static int replay_what_is_good(struct attempt *attempt, const struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    struct sp_error damage = {0};
    uint32_t last = 0, again;
    int rc = replay(attempt, checkpoint, attempt->options->to, &last, &damage);

    if (rc == SP_E_CORRUPT && attempt->out->round != NULL && last > checkpoint->round) {
        say(attempt->options, true, "%s: %s; the rounds after %u are lost", attempt->journal, damage.text, last);
        drop_round(attempt->out);
        rc = replay(attempt, checkpoint, last, &again, &damage);
    }
    if (rc != SP_OK) {
        drop_round(attempt->out);
        if (error != NULL)
            *error = damage;
    }
    return rc;
}

static int try_checkpoint(struct attempt *attempt, uint32_t round, struct sp_error *error)
{
    struct sp_checkpoint checkpoint = {0};
    struct sp_recovery *out = attempt->out;
    char path[PATH_BYTES];
    int rc;

    sp_checkpoint_path(attempt->checkpoints, round, path, sizeof path);
    rc = sp_checkpoint_read(path, &checkpoint, error);
    if (rc != SP_OK)
        return rc;
    out->run = checkpoint.run;
    out->checkpoint = checkpoint.round;
    out->finished = is_finished(attempt->options->folder, checkpoint.run);
    rc = sp_state_job(&checkpoint, &attempt->job, error);
    if (rc == SP_OK && !(out->finished && attempt->options->job != NULL)) {
        rc = compare_jobs(attempt, error);
        if (rc == SP_OK)
            rc = replay_what_is_good(attempt, &checkpoint, error);
    }
    sp_checkpoint_finish(&checkpoint);
    return rc;
}

/* --- a job that is over, but for its results -------------------------------------------------------------------------
 */

#define END_FOLDER "end"

int sp_recover_end(const char *folder, struct sp_round *round, struct sp_error *error)
{
    struct sp_checkpoint end = {.round = sp_round_committed(round), .run = sp_round_run(round), .sections = 1};
    char path[PATH_BYTES];
    const void *state;
    size_t bytes;

    if (sp_round_save(round, true, &state, &bytes) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the state of the job at its end");
    end.section[0] = (struct sp_checkpoint_section){"state", state, bytes};
    (void)snprintf(path, sizeof path, "%s/" END_FOLDER, folder);
    return sp_checkpoint_write(path, &end, error);
}

void sp_recover_end_forget(const char *folder)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/" END_FOLDER, folder);
    if (empty_folder(path, "", NULL) == SP_OK)
        (void)rmdir(path);
}

/* The workers have been told, and have gone: what they had evaluated is here. */
static void take_end(struct attempt *attempt)
{
    struct sp_recovery *out = attempt->out;
    struct sp_checkpoint end = {0};
    struct sp_error error = {0};
    char folder[PATH_BYTES], path[PATH_BYTES + 64];

    (void)snprintf(folder, sizeof folder, "%s/" END_FOLDER, attempt->options->folder);
    sp_checkpoint_path(folder, sp_round_committed(out->round), path, sizeof path);
    if (access(path, F_OK) != 0)
        return;
    if (sp_checkpoint_read(path, &end, &error) != SP_OK)
        say(attempt->options, true, "%s; the last evaluation is made again", error.text);
    else if (end.run == out->run && sp_round_restore_end(out->round, &end, &error) != SP_OK)
        say(attempt->options, true, "%s: %s; the last evaluation is made again", path, error.text);
    sp_checkpoint_finish(&end);
}

/* --- the journal's end -----------------------------------------------------------------------------------------------
 */

static int check_wanted(const struct attempt *attempt, struct sp_error *error)
{
    const struct sp_recovery *out = attempt->out;
    uint32_t to = attempt->options->to;

    if (to == SP_RECOVER_LATEST || out->committed == to)
        return SP_OK;
    return sp_error_set(error, SP_E_MISSING,
                        "%s goes to round %u only, from the checkpoint of round %u on; round %u cannot be made",
                        attempt->options->folder, out->committed, out->checkpoint, to);
}

static int look_at_end(struct attempt *attempt, struct sp_error *error)
{
    struct sp_recovery *out = attempt->out;

    if (out->round == NULL)
        return SP_OK;
    out->committed = sp_round_committed(out->round);
    if (attempt->options->to == SP_RECOVER_LATEST)
        take_end(attempt);
    if (out->scan.torn)
        say(attempt->options, true, "%s: after round %u %llu bytes of a round that is not complete are left out",
            out->scan.torn_path, out->committed, (unsigned long long)out->scan.torn_bytes);
    if (out->scan.gap)
        say(attempt->options, true, "%s is damaged after round %u; what follows it is lost", attempt->journal,
            out->committed);
    return check_wanted(attempt, error);
}

/* What another checkpoint would not mend. A server that cannot read a file, or not this version of it, must not take it
 * for damaged and go on from an older one; whoever only looks may. */
static bool is_final(const struct attempt *attempt, int rc)
{
    if (rc == SP_E_IO || rc == SP_E_UNSUPPORTED)
        return attempt->options->job != NULL;
    return rc == SP_OK || rc == SP_E_MISMATCH || rc == SP_E_NOMEM;
}

/* From the newest on, until one is good. SP_E_MISSING: there is none that is old enough. */
static int try_all(struct attempt *attempt, const uint32_t *rounds, int count, struct sp_error *error)
{
    int rc = SP_E_MISSING;

    for (int i = 0; i < count && !is_final(attempt, rc); i++) {
        if (rounds[i] > attempt->options->to)
            continue;
        rc = try_checkpoint(attempt, rounds[i], error);
        if (!is_final(attempt, rc))
            say(attempt->options, true, "the checkpoint of round %u is of no use: %s; trying the one before", rounds[i],
                error->text);
    }
    if (is_final(attempt, rc))
        return rc;
    if (rc == SP_E_MISSING)
        return sp_error_set(error, SP_E_MISSING, "the oldest checkpoint in %s is of round %u", attempt->checkpoints,
                            rounds[count - 1]);
    return sp_error_set(error, SP_E_CORRUPT, "no checkpoint in %s can be read; --fresh begins anew",
                        attempt->checkpoints);
}

int sp_recover(struct sp_recovery *out, const struct sp_recover_options *options, struct sp_error *error)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    struct sp_error words = {0};
    uint32_t *rounds = calloc(CHECKPOINTS_MAX, sizeof *rounds);
    int count, rc = SP_OK;

    memset(out, 0, sizeof *out);
    if (attempt == NULL || rounds == NULL) {
        free(attempt);
        free(rounds);
        return sp_error_set(error, SP_E_NOMEM, "no memory to go on from %s", options->folder);
    }
    attempt->options = options;
    attempt->out = out;
    sp_recover_paths(options->folder, attempt->checkpoints, attempt->journal, sizeof attempt->journal);
    count = sp_checkpoint_list(attempt->checkpoints, rounds, CHECKPOINTS_MAX, &words);
    if (count < 0)
        rc = SP_E_IO;
    else if (count > 0)
        rc = try_all(attempt, rounds, count, &words);
    if (rc == SP_OK)
        rc = look_at_end(attempt, &words);
    if (rc != SP_OK) {
        drop_round(out);
        (void)sp_error_set(error, (enum sp_code)rc, "%s", words.text);
    }
    free(attempt);
    free(rounds);
    return rc;
}
