/* Watches the receive queue of one UDP socket from outside: how long no datagram was taken from it.
 *
 *   agent_queue PORT COUNTERS
 *
 * Asks the kernel by sock_diag for the socket bound to PORT of 127.0.0.1 (bytes queued, packets dropped), as often
 * as it goes, about every 20 microseconds while it runs. The queue only shrinks when its owner receives; the longest
 * time it held something and did not shrink is the owner's longest stop, to within one look.
 * COUNTERS: a file of 8 u64, mapped: [0] looks, [1] longest stop in ns, [2] most bytes queued, [3] drops,
 * [4] longest time between two looks in ns (a stop may be that much off), [5] time of the longest stop's end,
 * nanoseconds since 1970, [6] != 0 from outside: start over, [7] != 0 from outside: end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { LOOKS = 0, STOP_NS, BYTES, DROPS, GAP_NS, WHEN, RESET, END };

static uint64_t clock_ns(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int look(int fd, uint16_t port, uint64_t *queued, uint64_t *drops)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 ask;
    } request = {
        .head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .ask = {.sdiag_family = AF_INET,
                .sdiag_protocol = IPPROTO_UDP,
                .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
                .idiag_states = 0xffffffff,
                .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };
    char answer[1024];
    /* For one socket the kernel looks as if a packet had come: its destination is where the socket listens. */
    request.ask.id.idiag_dport = htons(port);
    request.ask.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
    if (send(fd, &request, sizeof request, 0) < 0)
        return -1;
    ssize_t size = recv(fd, answer, sizeof answer, 0);
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    if (size < (ssize_t)sizeof *head || head->nlmsg_type == NLMSG_ERROR)
        return -1;
    struct inet_diag_msg *said = NLMSG_DATA(head);
    *queued = said->idiag_rqueue;
    struct rtattr *a = (struct rtattr *)(said + 1);
    int left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof *said));
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == INET_DIAG_SKMEMINFO)
            *drops = ((uint32_t *)RTA_DATA(a))[SK_MEMINFO_DROPS];
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "see the head of agent_queue.c\n");
        return 2;
    }
    int file = open(argv[2], O_RDWR), fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    volatile uint64_t *c = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uint16_t port = (uint16_t)atoi(argv[1]);
    uint64_t before = 0, queued = 0, drops = 0;
    if (c == MAP_FAILED || look(fd, port, &queued, &drops)) {
        fprintf(stderr, "no UDP socket on port %d\n", port);
        return 1;
    }
    prctl(PR_SET_TIMERSLACK, 1000UL);
    uint64_t last = clock_ns(CLOCK_MONOTONIC), since = last;
    while (!c[END]) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (look(fd, port, &queued, &drops))
            return 0; /* the socket is gone */
        if (c[RESET]) {
            c[STOP_NS] = c[BYTES] = c[GAP_NS] = c[RESET] = 0;
            since = last = now;
        }
        if (!queued || queued < before)
            since = now;
        if (now - since > c[STOP_NS]) {
            c[STOP_NS] = now - since;
            c[WHEN] = clock_ns(CLOCK_REALTIME);
        }
        if (queued > c[BYTES])
            c[BYTES] = queued;
        if (now - last > c[GAP_NS])
            c[GAP_NS] = now - last;
        c[DROPS] = drops;
        c[LOOKS]++;
        before = queued;
        last = now;
        struct timespec nap = {0, 100000};
        nanosleep(&nap, NULL);
    }
    return 0;
}
