/* Sends prepared datagrams from memory at a pace: the load of tests/bench/agent_lines.py.
 *
 *   agent_send udp PORT | udp-gso PORT | unix PATH   PACKETS COUNTERS LINES_PER_S SECONDS PASSES TICK_US
 *
 * PACKETS: a file of records (u32 bytes, u32 lines, bytes), little endian, sent round and round.
 * COUNTERS: a file of 8 u64 that is mapped and kept up to date: packets, lines, bytes, failed calls,
 *           latest tick in microseconds, and [7] != 0 from outside: stop.
 * LINES_PER_S 0: as fast as it goes. SECONDS 0 and PASSES 0: no limit.
 *
 * The pace is absolute: a late tick sends the missing packets, so the rate holds over the run. Between ticks
 * it sleeps. A datagram that the kernel refuses (no listener) is counted as a failed call and sent again.
 *
 * udp-gso: up to 64 neighbours of one length go through the kernel as one and are split on receipt
 * (UDP_SEGMENT), still in this process' time: some three times as many packets a second from one core. The
 * receiver sees single datagrams as ever.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BATCH = 64, SEGMENTS = 64, SEGMENTED_BYTES = 65000 };
enum { PACKETS = 0, LINES, BYTES, FAILED, LATE_US, STOP = 7 };

/* One call's part: a datagram, or several of one length. */
struct message {
    uint32_t packets, lines, bytes;
    char control[CMSG_SPACE(sizeof(uint16_t))];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *map(const char *path, int flags, int protection, size_t *size)
{
    struct stat s;
    int fd = open(path, flags);
    if (fd < 0 || fstat(fd, &s) != 0) {
        perror(path);
        exit(1);
    }
    void *at = mmap(NULL, (size_t)s.st_size, protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    close(fd);
    *size = (size_t)s.st_size;
    return at;
}

static int connected(const char *kind, const char *where)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int is_unix = strcmp(kind, "unix") == 0, size = 4 << 20;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_DGRAM, 0);
    in.sin_port = htons((uint16_t)atoi(where));
    strncpy(un.sun_path, where, sizeof un.sun_path - 1);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (connect(fd, is_unix ? (struct sockaddr *)&un : (struct sockaddr *)&in, is_unix ? sizeof un : sizeof in)) {
        perror(where);
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        fprintf(stderr, "see the head of agent_send.c\n");
        return 2;
    }
    size_t size, ignored;
    const char *file = map(argv[3], O_RDONLY, PROT_READ, &size);
    volatile uint64_t *counters = map(argv[4], O_RDWR, PROT_READ | PROT_WRITE, &ignored);
    const double rate = atof(argv[5]), seconds = atof(argv[6]);
    const uint64_t passes = strtoull(argv[7], NULL, 10), tick_ns = strtoull(argv[8], NULL, 10) * 1000u;
    int fd = connected(argv[1], argv[2]);
    prctl(PR_SET_TIMERSLACK, 1000UL);

    size_t records = 0, count = 0;
    uint32_t head[2];
    for (size_t at = 0; at < size; at += 8 + head[0], records++)
        memcpy(head, file + at, 8);
    struct mmsghdr *packets = calloc(records, sizeof *packets);
    struct iovec *parts = calloc(records, sizeof *parts);
    struct message *messages = calloc(records, sizeof *messages);
    if (!records || !packets || !parts || !messages)
        return 1;
    const uint32_t most = strcmp(argv[1], "udp-gso") == 0 ? SEGMENTS : 1;
    for (size_t i = 0, at = 0; i < records; i++, at += 8 + head[0]) {
        memcpy(head, file + at, 8);
        parts[i] = (struct iovec){(void *)(file + at + 8), head[0]};
        struct message *last = count ? &messages[count - 1] : NULL;
        if (!last || last->packets == most || parts[i - 1].iov_len != head[0] ||
            last->bytes + head[0] > SEGMENTED_BYTES) {
            packets[count].msg_hdr = (struct msghdr){.msg_iov = &parts[i]};
            last = &messages[count++];
        }
        last->packets++;
        last->lines += head[1];
        last->bytes += head[0];
        packets[count - 1].msg_hdr.msg_iovlen++;
    }
    for (size_t i = 0; i < count; i++)
        if (messages[i].packets > 1) {
            struct msghdr *m = &packets[i].msg_hdr;
            m->msg_control = messages[i].control;
            m->msg_controllen = sizeof messages[i].control;
            struct cmsghdr *c = CMSG_FIRSTHDR(m);
            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            *(uint16_t *)CMSG_DATA(c) = (uint16_t)m->msg_iov[0].iov_len;
        }

    uint64_t start = now_ns(), due = start, pass = 0, sent_lines = 0;
    size_t next = 0;
    while (!counters[STOP]) {
        uint64_t now = now_ns();
        double elapsed = (double)(now - start) / 1e9;
        if (seconds > 0 && elapsed >= seconds)
            break;
        if (now > due && (now - due) / 1000 > counters[LATE_US])
            counters[LATE_US] = (now - due) / 1000;
        while (rate <= 0 || (double)sent_lines < elapsed * rate) {
            size_t batch = count - next < BATCH ? count - next : BATCH;
            if (rate > 0) { /* not more than is due */
                double missing = elapsed * rate - (double)sent_lines;
                size_t n = 0;
                for (; n < batch && missing > 0; n++)
                    missing -= messages[next + n].lines;
                batch = n;
            }
            int done = sendmmsg(fd, packets + next, (unsigned)batch, 0);
            if (done < 0) {
                counters[FAILED]++;
                if (errno != ECONNREFUSED && errno != EINTR && errno != ENOBUFS && errno != EAGAIN)
                    return 1;
                break;
            }
            uint64_t bytes = 0, sent = 0;
            for (int i = 0; i < done; i++) {
                const struct message *m = &messages[next + (size_t)i];
                sent_lines += m->lines;
                sent += m->packets;
                bytes += m->bytes;
            }
            counters[PACKETS] += sent;
            counters[BYTES] += bytes;
            counters[LINES] = sent_lines;
            next += (size_t)done;
            if (next == count) {
                next = 0;
                if (++pass == passes)
                    return 0;
            }
            if (rate <= 0)
                break; /* look at the clock */
        }
        if (rate > 0) {
            due += tick_ns;
            if (due < now)
                due = now;
            struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
    }
    return 0;
}
