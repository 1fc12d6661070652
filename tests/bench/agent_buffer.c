/* Loaded into peers (LD_PRELOAD): gives every UDP socket a receive buffer of 64 MiB, so that a flush loses nothing.
 *
 * The peers either leave the buffer at the kernel's default of 256 small packets or may not go past its limit; the
 * benchmark compares what a line costs without loss, so they get more than the agent asks for itself (8 MiB).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

int socket(int domain, int type, int protocol)
{
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    int fd = real(domain, type, protocol), size = 64 << 20;
    if (fd >= 0 && (type & 0xf) == SOCK_DGRAM && (domain == AF_INET || domain == AF_INET6))
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return fd;
}
