/* The floor of tests/bench/agent_lines.py: receives datagrams and only counts them.
 *
 *   agent_floor NAP_US
 *
 * Binds a free UDP port of 127.0.0.1 with a receive buffer of 8 MiB, prints the port, then for ever: recvmmsg of
 * up to 64 datagrams into buffers that are used again. NAP_US 0: blocking, so each packet wakes it. Else it
 * sleeps so long after each drain while traffic lasts, so that packets queue up, and blocks when there is none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, BYTES = 65536 };

int main(int argc, char **argv)
{
    long nap_us = argc > 1 ? atol(argv[1]) : 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) ||
        getsockname(fd, (struct sockaddr *)&address, &length)) {
        perror("bind");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    prctl(PR_SET_TIMERSLACK, 1000UL);

    char *buffers = malloc((size_t)BATCH * BYTES);
    struct iovec parts[BATCH];
    struct mmsghdr packets[BATCH];
    memset(packets, 0, sizeof packets);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers + (size_t)i * BYTES, BYTES};
        packets[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    volatile uint64_t received = 0, bytes = 0;
    for (;;) {
        int n = recvmmsg(fd, packets, BATCH, MSG_WAITFORONE, NULL);
        while (n > 0) {
            received += (uint64_t)n;
            for (int i = 0; i < n; i++)
                bytes += packets[i].msg_len;
            if (!nap_us)
                break;
            if (n < BATCH) {
                struct timespec nap = {0, nap_us * 1000};
                nanosleep(&nap, NULL);
            }
            n = recvmmsg(fd, packets, BATCH, MSG_DONTWAIT, NULL);
        }
    }
}
