#include "worker/train/mapping.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct sp_mapping {
    struct sp_mapping *next;
    uint8_t *start; /* owned */
    uint64_t bytes;
    char path[];
};

/* All that there are. The handler reads the list: links are single stores, and only to what is complete. */
static struct sp_mapping *volatile mappings;
static const char *guarded;

int sp_mapping_create(struct sp_mapping **out, int fd, const char *path, struct sp_error *error)
{
    const size_t room = strlen(path) + 1;
    struct sp_mapping *mapping;
    struct stat status;
    void *start;

    *out = NULL;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
        return SP_OK;
    start = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (start == MAP_FAILED)
        return SP_OK;
    mapping = malloc(sizeof *mapping + room);
    if (mapping == NULL) {
        (void)munmap(start, (size_t)status.st_size);
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    }
    mapping->start = start;
    mapping->bytes = (uint64_t)status.st_size;
    memcpy(mapping->path, path, room);
    mapping->next = mappings;
    mappings = mapping;
    *out = mapping;
    return SP_OK;
}

void sp_mapping_destroy(struct sp_mapping *mapping)
{
    struct sp_mapping *volatile *link = &mappings;

    if (mapping == NULL)
        return;
    while (*link != mapping)
        link = (struct sp_mapping *volatile *)&(*link)->next;
    *link = mapping->next;
    (void)munmap(mapping->start, (size_t)mapping->bytes);
    free(mapping);
}

const uint8_t *sp_mapping_start(const struct sp_mapping *mapping)
{
    return mapping->start;
}

uint64_t sp_mapping_bytes(const struct sp_mapping *mapping)
{
    return mapping->bytes;
}

/* write() is all that a handler may use here; that it cannot say more is no reason to fail otherwise. */
static void say(const char *words)
{
    ssize_t written = write(STDERR_FILENO, words, strlen(words));

    (void)written;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const uintptr_t at = (uintptr_t)info->si_addr;

    (void)context;
    for (const struct sp_mapping *m = info->si_code > 0 ? mappings : NULL; m != NULL; m = m->next) {
        if (at < (uintptr_t)m->start || at - (uintptr_t)m->start >= m->bytes)
            continue;
        say(guarded);
        say(": ");
        say(m->path);
        say(": the file was cut short, or could not be read any more, while it was in use; data files must stay as "
            "they "
            "are until a job is done: put the whole file back and start again\n");
        _exit(1);
    }
    (void)signal(number, SIG_DFL); /* not ours: it comes again, and ends the process as it always did */
    if (info->si_code <= 0)
        (void)raise(number);
}

void sp_mapping_guard(const char *program)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

    guarded = program;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
