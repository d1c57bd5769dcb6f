/* Makes one allocation of a program fail, as if memory had run out at that moment.
 *
 * In two forms, from this one file:
 *   - a library for LD_PRELOAD, which stands in for malloc and its kin of the whole process;
 *   - with FAULTS_WRAP, an object that is linked with -Wl,--wrap=malloc and so on, and sees the allocations of our own
 *     code only. Sanitizers bring a malloc of their own and want it first; this form leaves it to them.
 *
 * Allocations are told apart by their site: a hash of the callers' addresses, each relative to its library, so that it
 * is the same in every run. Counting them instead would hit another one whenever the network delivers otherwise.
 *   FAULTS_REPORT=FILE   where to write: a line for the allocation that failed, and at the end a line for every site
 *   FAULTS_SITE=HASH:K   the K-th allocation (from 1) of that site fails
 *   FAULTS_BURST=N       and so do the N-1 that follow, whoever wants them; default 1
 *
 * Exempt in the library's form, neither counted nor failed:
 *   - everything before main(): constructors of libraries, which nobody can answer for;
 *   - OpenBLAS and the Fortran runtime under it: what they do without memory is theirs to answer for;
 *   - the dynamic loader;
 *   - libuv's realloc: it grows the loop's table of descriptors, and libuv calls abort() if that fails, by design.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 10
#define SITES_MAX 8192
#define MODULES_MAX 64
#define NAME_BYTES 40

#ifdef FAULTS_WRAP
#define OURS(name) __wrap_##name
#define THEIRS(name) __real_##name
#else
#define OURS(name) name
#define THEIRS(name) __libc_##name
#endif

void *THEIRS(malloc)(size_t bytes);
void *THEIRS(calloc)(size_t count, size_t bytes);
void *THEIRS(realloc)(void *old, size_t bytes);
#ifdef FAULTS_WRAP
void *THEIRS(aligned_alloc)(size_t alignment, size_t bytes);
char *THEIRS(strdup)(const char *text);
void *OURS(malloc)(size_t bytes);
void *OURS(calloc)(size_t count, size_t bytes);
void *OURS(realloc)(void *old, size_t bytes);
void *OURS(reallocarray)(void *old, size_t count, size_t bytes);
void *OURS(aligned_alloc)(size_t alignment, size_t bytes);
char *OURS(strdup)(const char *text);
#else
void *THEIRS(memalign)(size_t alignment, size_t bytes);
#endif

struct module {
    uintptr_t begin, end, base;
    char name[NAME_BYTES];
    bool exempt, exempt_realloc;
};

struct site {
    uint64_t hash; /* 0: free */
    uint64_t count;
    const char *kind;
    size_t bytes; /* of the first one */
    void *frame[DEPTH];
    int frames;
};

static struct module modules[MODULES_MAX];
static unsigned modules_count;
static struct site sites[SITES_MAX];
static bool ready;
static int lock;
static uint64_t wanted_site, wanted_occurrence, burst, burst_left;
static char report_path[512];
static __thread bool busy __attribute__((tls_model("initial-exec")));

/* --- where an address belongs ----------------------------------------------------------------------------------------
 */

static int note_module(struct dl_phdr_info *info, size_t bytes, void *unused)
{
    struct module *m = &modules[modules_count];
    const char *slash = strrchr(info->dlpi_name, '/');

    (void)bytes;
    (void)unused;
    if (modules_count == MODULES_MAX)
        return 1;
    m->base = info->dlpi_addr;
    m->begin = UINTPTR_MAX;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + header->p_vaddr;

        if (header->p_type != PT_LOAD)
            continue;
        m->begin = begin < m->begin ? begin : m->begin;
        m->end = begin + header->p_memsz > m->end ? begin + header->p_memsz : m->end;
    }
    (void)snprintf(m->name, sizeof m->name, "%s", slash != NULL ? slash + 1 : info->dlpi_name);
    if (m->name[0] == '\0')
        (void)strcpy(m->name, "program");
    m->exempt = strncmp(m->name, "libopenblas", 11) == 0 || strncmp(m->name, "libblas", 7) == 0 ||
                strncmp(m->name, "libgfortran", 11) == 0 || strncmp(m->name, "ld-", 3) == 0;
    m->exempt_realloc = strncmp(m->name, "libuv", 5) == 0;
    modules_count++;
    return 0;
}

static const struct module *module_of(const void *address)
{
    for (unsigned i = 0; i < modules_count; i++) {
        if ((uintptr_t)address >= modules[i].begin && (uintptr_t)address < modules[i].end)
            return &modules[i];
    }
    return NULL;
}

/* --- sites -----------------------------------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (value >> (8 * i) & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_of(void *const *frame, int frames)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (int i = 0; i < frames; i++) {
        const struct module *m = module_of(frame[i]);

        for (const char *c = m != NULL ? m->name : "?"; *c != '\0'; c++)
            hash = mix(hash, (uint64_t)*c);
        hash = mix(hash, m != NULL ? (uintptr_t)frame[i] - m->base : 0);
    }
    return hash != 0 ? hash : 1;
}

static struct site *site_of(uint64_t hash)
{
    for (uint64_t i = hash % SITES_MAX, tries = 0; tries < SITES_MAX; i = (i + 1) % SITES_MAX, tries++) {
        if (sites[i].hash == hash || sites[i].hash == 0)
            return &sites[i];
    }
    return NULL;
}

static void report(const char *what, const struct site *site)
{
    int fd = open(report_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (fd < 0)
        return;
    (void)dprintf(fd, "%s %016" PRIx64 " %" PRIu64 " %s %zu", what, site->hash, site->count, site->kind, site->bytes);
    for (int i = 0; i < site->frames; i++) {
        const struct module *m = module_of(site->frame[i]);

        (void)dprintf(fd, " %s+0x%" PRIxPTR, m != NULL ? m->name : "?",
                      (uintptr_t)site->frame[i] - (m != NULL ? m->base : 0));
    }
    (void)dprintf(fd, "\n");
    (void)close(fd);
}

/* The stack from the caller of the allocation on. */
static struct site *find_site(const void *caller, const char *kind, size_t bytes)
{
    void *frame[DEPTH + 6];
    int frames = backtrace(frame, DEPTH + 6), first = 0;
    struct site *site;
    uint64_t hash;

    while (first < frames && frame[first] != caller)
        first++;
    if (first == frames)
        first = 0;
    frames = frames - first < DEPTH ? frames - first : DEPTH;
    hash = hash_of(frame + first, frames);
    site = site_of(hash);
    if (site != NULL && site->hash == 0) {
        site->hash = hash;
        site->kind = kind;
        site->bytes = bytes;
        site->frames = frames;
        memcpy(site->frame, frame + first, (size_t)frames * sizeof *frame);
    }
    return site;
}

static bool decide(const void *caller, const char *kind, size_t bytes)
{
    struct site *site = find_site(caller, kind, bytes);
    bool hit;

    if (site == NULL)
        return false;
    site->count++;
    hit = site->hash == wanted_site && site->count == wanted_occurrence;
    if (hit)
        burst_left = burst;
    if (burst_left == 0)
        return false;
    burst_left--;
    report("failed", site);
    return true;
}

static void set_up(void)
{
    const char *site = getenv("FAULTS_SITE"), *many = getenv("FAULTS_BURST"), *path = getenv("FAULTS_REPORT");
    void *frame[2];

    busy = true;
    (void)dl_iterate_phdr(note_module, NULL);
    (void)backtrace(frame, 2); /* loads what it needs now */
    if (site != NULL)
        (void)sscanf(site, "%" SCNx64 ":%" SCNu64, &wanted_site, &wanted_occurrence);
    burst = many != NULL ? strtoull(many, NULL, 10) : 1;
    if (path != NULL)
        (void)snprintf(report_path, sizeof report_path, "%s", path);
    busy = false;
    ready = path != NULL;
}

/* Whether the allocation that `caller` wants fails. */
static bool fails(const void *caller, const char *kind, size_t bytes)
{
    const struct module *m;
    int saved = errno;
    bool yes;

    if (!ready || busy)
        return false;
    m = module_of(caller);
    if (m != NULL && (m->exempt || (m->exempt_realloc && strcmp(kind, "realloc") == 0)))
        return false;
    busy = true;
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0)
        continue;
    yes = decide(caller, kind, bytes);
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    busy = false;
    errno = yes ? ENOMEM : saved;
    return yes;
}

#define FAILS(kind, bytes) fails(__builtin_return_address(0), kind, bytes)

static __attribute__((destructor)) void list_sites(void)
{
    if (!ready)
        return;
    busy = true;
    for (unsigned i = 0; i < SITES_MAX; i++) {
        if (sites[i].hash != 0)
            report("site", &sites[i]);
    }
}

/* --- the stand-ins ---------------------------------------------------------------------------------------------------
 */

void *OURS(malloc)(size_t bytes)
{
    return FAILS("malloc", bytes) ? NULL : THEIRS(malloc)(bytes);
}

void *OURS(calloc)(size_t count, size_t bytes)
{
    return FAILS("calloc", count * bytes) ? NULL : THEIRS(calloc)(count, bytes);
}

void *OURS(realloc)(void *old, size_t bytes)
{
    return FAILS("realloc", bytes) ? NULL : THEIRS(realloc)(old, bytes);
}

void *OURS(reallocarray)(void *old, size_t count, size_t bytes)
{
    size_t all;

    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return FAILS("reallocarray", all) ? NULL : THEIRS(realloc)(old, all);
}

#ifdef FAULTS_WRAP

static __attribute__((constructor)) void begin(void)
{
    set_up();
}

void *OURS(aligned_alloc)(size_t alignment, size_t bytes)
{
    return FAILS("aligned_alloc", bytes) ? NULL : THEIRS(aligned_alloc)(alignment, bytes);
}

char *OURS(strdup)(const char *text)
{
    return FAILS("strdup", strlen(text) + 1) ? NULL : THEIRS(strdup)(text);
}

#else

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return FAILS("aligned_alloc", bytes) ? NULL : THEIRS(memalign)(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    void *memory = FAILS("posix_memalign", bytes) ? NULL : THEIRS(memalign)(alignment, bytes);

    if (memory == NULL)
        return ENOMEM;
    *out = memory;
    return 0;
}

typedef int main_function(int argc, char **argv, char **environment);
typedef int start_function(main_function *begin, int argc, char **argv, void (*init)(void), void (*fini)(void),
                           void (*loader_fini)(void), void *stack_end);
start_function __libc_start_main;

/* The C library's own first step: what the libraries' constructors allocated lies behind us. */
int __libc_start_main(main_function *begin, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack_end)
{
    start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");

    set_up();
    return start(begin, argc, argv, init, fini, loader_fini, stack_end);
}

#endif
