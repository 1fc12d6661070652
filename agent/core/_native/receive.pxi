# Receiving: the datagrams of one socket into one shard, in a thread of its own without the interpreter's lock.
#
# Owns the buffers and when to read; relay.pxi sends copies to other servers. A socket with nothing to read is
# waited for; a busy one is left alone between two reads, so that packets queue up in the kernel and one system
# call takes many: half of the CPU at one line per packet. nap.pxi says how long.
#
# Some clients send 4 bytes of length (little-endian) before the lines of a Unix datagram, as on a stream
# (metrics-rs): where they give exactly the length of the rest, they are taken for empty lines.
#
# While more entries wait to become frames than may, nothing is read: then the kernel has to wait, and counts.

import socket
import threading

from agent.net.sockets import kernel_drops
from agent.receive.receiver import ReceiveCounters
from agent.receive.relay import NotSent, RelayCounters

cdef extern from "<time.h>" nogil:
    ctypedef struct timespec "struct timespec":
        long tv_sec
        long tv_nsec
    int CLOCK_BOOTTIME, CLOCK_REALTIME
    int clock_gettime(int, timespec *)
    int nanosleep(const timespec *, timespec *)

cdef extern from "<sys/socket.h>" nogil:
    int SOL_SOCKET, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC
    ctypedef unsigned int socklen_t
    ctypedef struct iovec "struct iovec":
        void *iov_base
        size_t iov_len
    ctypedef struct msghdr "struct msghdr":
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
    ctypedef struct mmsghdr "struct mmsghdr":
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int, mmsghdr *, unsigned int, int, timespec *)
    int sendmmsg(int, mmsghdr *, unsigned int, int)
    ssize_t send(int, const void *, size_t, int)
    int getsockopt(int, int, int, void *, socklen_t *)

cdef extern from *:
    """
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55  /* Linux 4.12 */
    #endif
    """
    int SO_MEMINFO

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, ECONNREFUSED, EDESTADDRREQ, EINTR, EMSGSIZE, ENOBUFS, ENOTCONN

cdef extern from "<string.h>" nogil:
    void *memrchr(const void *, int, size_t)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *, size_t, int)
    int MADV_DONTNEED

cdef extern from "<poll.h>" nogil:
    ctypedef struct pollfd "struct pollfd":
        int fd
        short events
    int POLLIN
    int poll(pollfd *, unsigned long, int)

include "nap.pxi"
include "relay.pxi"

cdef enum:
    BATCH_PACKETS = 64  # at most, and about these bytes: they stay in the first cache until parsed
    BATCH_LEAST_PACKETS = 8
    BATCH_BYTES = 24 * 1024
    PACKET_BYTES = 65536  # larger than any UDP packet; a larger Unix datagram is cut
    # From one buffer to the next: not a power of two, so that the packets of a batch do not fall into the same
    # lines of the caches. Pages that were never written to are no memory.
    PACKET_STRIDE = PACKET_BYTES + 4096 + 192
    LENGTH_BYTES = 4  # before the lines of some Unix datagrams
    LARGE_PACKET_BYTES = 4096  # beyond it the memory touched is given back when there is time
    KERNEL_PACKET_BYTES = 832  # that a small packet takes of the receive buffer
    PAUSE_NS = 1000000
    MEMINFO_WORDS = 9  # of SO_MEMINFO: the first is the memory in use, the second the bound, the last drops

include "networks.pxi"

cdef struct Receiver:
    void *owner  # the NativeReceiver
    Shard *shard
    int sock
    int stop_event  # readable when the receiver is to stop
    uint64_t stopping
    bint is_unix
    int64_t nap_ns  # the longest nap
    uint64_t capacity_packets  # of the receive buffer, if they are small
    int batch  # packets to read at once
    bint more  # the last read gave all that it could take
    bint large  # a packet came that touched more memory than usual
    # Totals that other threads read.
    uint64_t packets
    uint64_t bytes
    uint64_t cut_off
    uint64_t pauses
    Relayer relay  # of every packet
    Relayer events  # of lines that are events and service checks
    Sources sources
    Origin origin
    # Buffers, and where they are.
    char *buffers
    mmsghdr incoming[BATCH_PACKETS]
    iovec places[BATCH_PACKETS]
    mmsghdr outgoing[BATCH_PACKETS]
    iovec copies[BATCH_PACKETS]
    const char *data[BATCH_PACKETS]
    uint32_t sizes[BATCH_PACKETS]


cdef void receiver_open(Receiver *r) noexcept nogil:
    """Makes the buffers; all else of `r` is set."""
    cdef int i
    r.batch = BATCH_PACKETS
    r.buffers = <char *>take_pages(BATCH_PACKETS * PACKET_STRIDE)
    memset(r.incoming, 0, sizeof(r.incoming))
    memset(r.outgoing, 0, sizeof(r.outgoing))
    for i in range(BATCH_PACKETS):
        r.data[i] = r.buffers + i * PACKET_STRIDE
        r.places[i].iov_base = <void *>r.data[i]
        r.places[i].iov_len = PACKET_BYTES
        r.incoming[i].msg_hdr.msg_iov = &r.places[i]
        r.incoming[i].msg_hdr.msg_iovlen = 1
        r.copies[i].iov_base = <void *>r.data[i]
        r.outgoing[i].msg_hdr.msg_iov = &r.copies[i]
        r.outgoing[i].msg_hdr.msg_iovlen = 1
    if not r.is_unix:
        sources_ask(&r.sources, r.incoming)
        r.origin.buffers, r.origin.senders = r.buffers, &r.sources.senders[0][0]


cdef void receiver_close(Receiver *r) noexcept nogil:
    give_pages(r.buffers, BATCH_PACKETS * PACKET_STRIDE)


cdef void receiver_run(Receiver *r) noexcept nogil:
    """Reads until it is told to stop; then the packets that the kernel still holds."""
    cdef int64_t left
    while not total_now(&r.stopping):
        receiver_wait(r)
        receiver_work(r)
    left = r.capacity_packets + BATCH_PACKETS  # a sender that goes on must not keep us here
    r.more = True
    while r.more and left > 0:
        left -= receiver_take(r)


cdef void receiver_wait(Receiver *r) noexcept nogil:
    """Until there is something to read, or to stop for."""
    cdef pollfd polled[2]
    if r.large:
        r.large = False
        madvise(r.buffers, BATCH_PACKETS * PACKET_STRIDE, MADV_DONTNEED)
    polled[0].fd = r.sock
    polled[1].fd = r.stop_event
    polled[0].events = polled[1].events = POLLIN
    poll(polled, 2, -1)


cdef void receiver_work(Receiver *r) noexcept nogil:
    """Reads and naps until a read brings nothing."""
    cdef int64_t before_ns = <int64_t>monotonic_ns() - r.nap_ns
    cdef int64_t now_ns, nap_ns
    cdef double fill
    cdef int taken
    while not total_now(&r.stopping):
        receiver_pause(r)
        now_ns = <int64_t>monotonic_ns()
        fill = receiver_fill(r)
        taken = receiver_take(r)
        if taken == 0:
            return
        while r.more and not receiver_full(r):
            taken += receiver_take(r)
        nap_ns = next_nap_ns(r.nap_ns, now_ns - before_ns, fill, taken)
        before_ns = now_ns
        if nap_ns:
            sleep_ns(nap_ns)


cdef inline bint receiver_full(Receiver *r) noexcept nogil:
    return total_now(&r.shard.core.flushed_entries) > r.shard.core.max_entries


cdef void receiver_add(Receiver *r, int count) noexcept nogil:
    """Adds the lines of a batch, and flushes if that fills the memory."""
    cdef int64_t at_ms = clock_ms(CLOCK_BOOTTIME) + <int64_t>total_now(&r.shard.core.clock_base_ms)
    shard_add_packets(r.shard, r.data, r.sizes, count, at_ms, &r.origin)
    if core_flush_if_full(r.shard.core, at_ms):
        with gil:
            (<NativeReceiver>r.owner).woken()


cdef void receiver_pause(Receiver *r) noexcept nogil:
    """Waits while more waits to become frames than may."""
    if not receiver_full(r):
        return
    total_add(&r.pauses, 1)
    while receiver_full(r) and not total_now(&r.stopping):
        sleep_ns(PAUSE_NS)


cdef int receiver_take(Receiver *r) noexcept nogil:
    """Reads a batch and adds its lines; gives the number of packets."""
    cdef uint64_t total = 0
    cdef uint32_t size
    cdef int count, i
    if not r.is_unix:
        sources_reset(r.incoming, r.batch)
    count = recvmmsg(r.sock, r.incoming, r.batch, MSG_DONTWAIT | MSG_TRUNC, NULL)
    r.more = count == r.batch
    if count <= 0:
        if errno != EAGAIN and errno != EINTR:  # no memory for now: a busy loop would not help
            sleep_ns(PAUSE_NS)
        return 0
    for i in range(count):
        size = r.incoming[i].msg_len  # of the packet as it was sent, because of MSG_TRUNC
        total += size
        if r.sources.count and not sources_allow(&r.sources, i):
            r.large = r.large or size > LARGE_PACKET_BYTES
            size = 0
        if size > LARGE_PACKET_BYTES:
            r.large = True
            if size > PACKET_BYTES:
                size = receiver_cut(r, i)
        r.sizes[i] = size
    r.batch = <int>min(max(BATCH_BYTES // (total // count + 1), BATCH_LEAST_PACKETS), BATCH_PACKETS)
    total_add(&r.packets, count)
    total_add(&r.bytes, total)
    if r.relay.sock >= 0:
        receiver_relay(r, count)
    if r.is_unix:
        receiver_unwrap(r, count)
    if r.events.sock >= 0:
        for i in range(count):
            relay_events(&r.events, r.data[i], r.sizes[i])
    receiver_add(r, count)
    return count


cdef void receiver_unwrap(Receiver *r, int count) noexcept nogil:
    """Blanks the lengths before the lines of Unix datagrams."""
    cdef uint32_t size
    cdef int i
    for i in range(count):
        size = r.incoming[i].msg_len  # as it was sent, even if it was cut
        if size >= LENGTH_BYTES and load_32(r.data[i]) == size - LENGTH_BYTES:
            memset(<char *>r.data[i], c"\n", LENGTH_BYTES)


cdef uint32_t receiver_cut(Receiver *r, int i) noexcept nogil:
    """Drops the line in which a packet was cut; gives the size of the lines before it."""
    cdef const char *newline = <const char *>memrchr(r.data[i], '\n', PACKET_BYTES)
    total_add(&r.cut_off, 1)
    return 0 if newline == NULL else <uint32_t>(newline + 1 - r.data[i])


cdef void receiver_relay(Receiver *r, int count) noexcept nogil:
    """Sends a batch on, as it came; but not a packet that was cut."""
    cdef int wanted = 0
    cdef int i
    for i in range(count):
        if r.sources.dropped[i]:
            continue
        if r.incoming[i].msg_len > PACKET_BYTES:
            total_add(&r.relay.dropped[RELAY_TOO_LARGE], 1)
            continue
        r.copies[wanted].iov_base = <void *>r.data[i]
        r.copies[wanted].iov_len = r.sizes[i]
        wanted += 1
    relay_packets(&r.relay, r.outgoing, wanted)


cdef double receiver_fill(Receiver *r) noexcept nogil:
    """How much of the receive buffer is taken: 0 to 1; 0 where the kernel does not say."""
    cdef uint32_t words[MEMINFO_WORDS]
    cdef socklen_t size = sizeof(words)
    if getsockopt(r.sock, SOL_SOCKET, SO_MEMINFO, words, &size) or words[1] == 0:
        return 0.0
    return <double>words[0] / words[1]


# ---------------------------------------------------------------- time


cdef int64_t clock_ms(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef void sleep_ns(int64_t ns) noexcept nogil:
    cdef timespec wanted
    wanted.tv_sec = ns // 1000000000
    wanted.tv_nsec = ns % 1000000000
    nanosleep(&wanted, NULL)
