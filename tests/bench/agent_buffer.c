/* Loaded into peers (LD_PRELOAD): gives every UDP socket a receive buffer of 64 MiB, so that a flush loses nothing.
 *
 * The peers either leave the buffer at the kernel's default of 256 small packets or may not go past its limit; the
 * benchmark compares lines without loss, so they get more than the agent asks for itself (8 MiB).
 * Their own requests are passed over.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

static int grow(int fd, int size)
{
    int (*real)(int, int, int, const void *, socklen_t) =
        (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) &&
           real(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

int socket(int domain, int type, int protocol)
{
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    int fd = real(domain, type, protocol);
    if (fd >= 0 && (type & 0xf) == SOCK_DGRAM && (domain == AF_INET || domain == AF_INET6))
        grow(fd, 64 << 20);
    return fd;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    int (*real)(int, int, int, const void *, socklen_t) =
        (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    int type = 0;
    socklen_t size = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    if (type == SOCK_DGRAM && level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE))
        return 0;
    return real(fd, level, name, value, length);
}
