/* Disturbs the system calls of a program in ways that POSIX allows; a library for LD_PRELOAD.
 *
 *   FAULTS_SEED=N     what is random follows from it; default 1
 *   FAULTS_SHORT=N    reads and writes of sockets and files move from 1 to N bytes at a time
 *   FAULTS_EINTR=N    one call in N, at random, fails with EINTR before anything was done: reads and writes of sockets
 * and pipes, connect, accept, and waiting for events. (Linux interrupts no read or write of a file.) FAULTS_CLOCK=1 the
 * clock on the wall jumps by up to twelve hours, forward and back, whenever it is looked at
 *
 * Exempt: pipes and eventfds are never read or written short, since Linux moves small amounts whole there, and libuv
 * relies on it for its wake-ups; the monotonic clock, which is what it is called.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define JUMP_SECONDS 43200

static uint64_t state = 1;
static size_t short_max;
static unsigned eintr_one_in;
static bool clock_jumps;

static __attribute__((constructor)) void set_up(void)
{
    const char *seed = getenv("FAULTS_SEED"), *bytes = getenv("FAULTS_SHORT"), *eintr = getenv("FAULTS_EINTR");

    state = seed != NULL ? strtoull(seed, NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) + 1 : 1;
    short_max = bytes != NULL ? strtoul(bytes, NULL, 10) : 0;
    eintr_one_in = eintr != NULL ? (unsigned)strtoul(eintr, NULL, 10) : 0;
    clock_jumps = getenv("FAULTS_CLOCK") != NULL;
}

/* splitmix64; threads share it, which is as good as any order. */
static uint64_t draw(void)
{
    uint64_t x = __atomic_add_fetch(&state, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static mode_t kind_of(int fd)
{
    struct stat status;
    int saved = errno;
    mode_t kind = fstat(fd, &status) == 0 ? status.st_mode & S_IFMT : 0;

    errno = saved;
    return kind;
}

static size_t shortened(int fd, size_t bytes)
{
    mode_t kind;

    if (short_max == 0 || bytes <= 1)
        return bytes;
    kind = kind_of(fd);
    if (kind == S_IFSOCK || kind == S_IFREG) {
        size_t most = 1 + (size_t)(draw() % short_max);

        return bytes < most ? bytes : most;
    }
    return bytes;
}

static bool interrupted(void)
{
    if (eintr_one_in == 0 || draw() % eintr_one_in != 0)
        return false;
    errno = EINTR;
    return true;
}

static bool interrupted_on(int fd)
{
    mode_t kind = eintr_one_in != 0 ? kind_of(fd) : S_IFREG;

    return (kind == S_IFSOCK || kind == S_IFIFO) && interrupted();
}

/* The first bytes of a vector, at most as many as may be moved now. */
static struct iovec first_of(int fd, const struct iovec *parts, int count)
{
    struct iovec one = {0};

    for (int i = 0; i < count && one.iov_len == 0; i++)
        one = parts[i];
    one.iov_len = shortened(fd, one.iov_len);
    return one;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(name, ...)                                                                                                \
    ({                                                                                                                 \
        static __typeof__(&name) next;                                                                                 \
        if (next == NULL)                                                                                              \
            next = NEXT(name);                                                                                         \
        next(__VA_ARGS__);                                                                                             \
    })

ssize_t read(int fd, void *to, size_t bytes)
{
    return interrupted_on(fd) ? -1 : CALL(read, fd, to, shortened(fd, bytes));
}

ssize_t write(int fd, const void *from, size_t bytes)
{
    return interrupted_on(fd) ? -1 : CALL(write, fd, from, shortened(fd, bytes));
}

ssize_t recv(int fd, void *to, size_t bytes, int flags)
{
    return interrupted_on(fd) ? -1 : CALL(recv, fd, to, shortened(fd, bytes), flags);
}

ssize_t send(int fd, const void *from, size_t bytes, int flags)
{
    return interrupted_on(fd) ? -1 : CALL(send, fd, from, shortened(fd, bytes), flags);
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    struct iovec one;

    if (interrupted_on(fd))
        return -1;
    if (short_max == 0)
        return CALL(readv, fd, parts, count);
    one = first_of(fd, parts, count);
    return CALL(readv, fd, &one, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct iovec one;

    if (interrupted_on(fd))
        return -1;
    if (short_max == 0)
        return CALL(writev, fd, parts, count);
    one = first_of(fd, parts, count);
    return CALL(writev, fd, &one, 1);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return interrupted_on(fd) ? -1 : CALL(recvmsg, fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return interrupted_on(fd) ? -1 : CALL(sendmsg, fd, message, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    return interrupted() ? -1 : CALL(connect, fd, address, bytes);
}

int accept(int fd, struct sockaddr *address, socklen_t *bytes)
{
    return interrupted() ? -1 : CALL(accept, fd, address, bytes);
}

int accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    return interrupted() ? -1 : CALL(accept4, fd, address, bytes, flags);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    return interrupted() ? -1 : CALL(epoll_wait, fd, events, count, timeout_ms);
}

int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout_ms, const sigset_t *signals)
{
    return interrupted() ? -1 : CALL(epoll_pwait, fd, events, count, timeout_ms, signals);
}

/* --- the clock on the wall -------------------------------------------------------------------------------------------
 */

static time_t jump(void)
{
    return clock_jumps ? (time_t)(draw() % (2 * JUMP_SECONDS)) - JUMP_SECONDS : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = CALL(clock_gettime, clock, now);

    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += jump();
    return rc;
}

int gettimeofday(struct timeval *now, void *zone)
{
    int rc = CALL(gettimeofday, now, zone);

    if (rc == 0)
        now->tv_sec += jump();
    return rc;
}

time_t time(time_t *out)
{
    time_t now = CALL(time, NULL) + jump();

    if (out != NULL)
        *out = now;
    return now;
}
