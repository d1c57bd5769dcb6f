/* A wire between two network interfaces that takes its time and loses frames, in user space, for the kernels that have
 * no netem:
 *
 *     wire IF_A IF_B DELAY_MS LOSS_PERCENT SEED
 *
 * What arrives at one interface leaves at the other DELAY_MS later, in order. Which frames are lost depends on the seed
 * and on their order alone. Says "ready" once it listens; ends by a signal. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAMES_MAX 16384u /* on their way; what comes beyond that is lost */
#define FRAME_BYTES_MAX 2048u
#define BUFFER_BYTES (16 << 20)

struct frame {
    uint64_t due_ns;
    size_t bytes;
    uint8_t data[FRAME_BYTES_MAX];
};

struct way {
    int from, to;
    struct frame *frames; /* a ring */
    unsigned head, tail;
};

static uint64_t rng;

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Knuth's generator; the high half is good enough for losses. */
static uint32_t draw(void)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 32);
}

static int open_interface(const char *name)
{
    int on = 1, size = BUFFER_BYTES;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};

    (void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)fprintf(stderr, "wire: %s: %s\n", name, strerror(errno));
    exit(EXIT_FAILURE);
}

static void take(struct way *way, uint64_t delay_ns, uint32_t lost_below)
{
    uint8_t data[FRAME_BYTES_MAX];
    ssize_t n;

    while ((n = recv(way->from, data, sizeof data, MSG_TRUNC)) > 0) {
        struct frame *frame = &way->frames[way->tail % FRAMES_MAX];

        if ((size_t)n > sizeof data) {
            (void)fprintf(stderr, "wire: a frame of %zd bytes: segmentation offload must be off\n", n);
            exit(EXIT_FAILURE);
        }
        if (draw() < lost_below || way->tail - way->head == FRAMES_MAX)
            continue;
        frame->due_ns = now_ns() + delay_ns;
        frame->bytes = (size_t)n;
        memcpy(frame->data, data, frame->bytes);
        way->tail++;
    }
}

/* Returns when the next frame is due; UINT64_MAX: there is none. */
static uint64_t give(struct way *way, uint64_t now)
{
    for (; way->head != way->tail; way->head++) {
        const struct frame *frame = &way->frames[way->head % FRAMES_MAX];

        if (frame->due_ns > now)
            return frame->due_ns;
        (void)send(way->to, frame->data, frame->bytes, 0); /* a full queue loses frames, as on any wire */
    }
    return UINT64_MAX;
}

int main(int argc, char **argv)
{
    struct way ways[2];
    uint64_t delay_ns;
    uint32_t lost_below;

    if (argc != 6) {
        (void)fprintf(stderr, "usage: wire IF_A IF_B DELAY_MS LOSS_PERCENT SEED\n");
        return 2;
    }
    delay_ns = (uint64_t)(strtod(argv[3], NULL) * 1e6);
    lost_below = (uint32_t)(strtod(argv[4], NULL) / 100.0 * 4294967295.0);
    rng = strtoull(argv[5], NULL, 10);
    ways[0].from = ways[1].to = open_interface(argv[1]);
    ways[0].to = ways[1].from = open_interface(argv[2]);
    for (int i = 0; i < 2; i++) {
        ways[i].head = ways[i].tail = 0;
        ways[i].frames = calloc(FRAMES_MAX, sizeof *ways[i].frames);
        if (ways[i].frames == NULL)
            return EXIT_FAILURE;
    }
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd fds[2] = {{.fd = ways[0].from, .events = POLLIN}, {.fd = ways[1].from, .events = POLLIN}};
        uint64_t now, next[2], due;
        struct timespec wait;

        for (int i = 0; i < 2; i++)
            take(&ways[i], delay_ns, lost_below);
        now = now_ns();
        for (int i = 0; i < 2; i++)
            next[i] = give(&ways[i], now);
        due = next[0] < next[1] ? next[0] : next[1];
        wait.tv_sec = (time_t)((due - now) / 1000000000u);
        wait.tv_nsec = (long)((due - now) % 1000000000u);
        (void)ppoll(fds, 2, due != UINT64_MAX ? &wait : NULL, NULL);
    }
}
