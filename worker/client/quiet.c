/* A library must not let SIGPIPE end its host, nor change what the host does with signals. libuv writes to sockets that
 * may be gone without MSG_NOSIGNAL, so the signal is blocked for the calling thread, and one that came is taken away.
 */
#include "worker/client/client_state.h"

#include <errno.h>
#include <time.h>

void sp_quiet_begin(struct sp_quiet *quiet)
{
    sigset_t pipe, pending;

    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    quiet->pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &quiet->before);
}

void sp_quiet_end(const struct sp_quiet *quiet)
{
    static const struct timespec at_once = {0};
    int code = errno;
    sigset_t pipe;

    if (!quiet->pending) {
        (void)sigemptyset(&pipe);
        (void)sigaddset(&pipe, SIGPIPE);
        while (sigtimedwait(&pipe, NULL, &at_once) == -1 && errno == EINTR)
            ;
    }
    (void)pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
    errno = code;
}
