# Copies for other servers: packets as they came, events and service checks a datagram each.
#
# Owns the sending and its counts; agent/receive/relay.py has the rules. Never waits: a copy
# that cannot be sent at once is dropped.

cdef enum:  # agent/receive/relay.py's NotSent, in its order
    RELAY_FULL
    RELAY_REFUSED
    RELAY_TOO_LARGE
    RELAY_OTHER
    RELAY_REASONS

cdef struct Relayer:
    int sock  # connected; -1: none
    # Totals that other threads read.
    uint64_t packets
    uint64_t dropped[RELAY_REASONS]


cdef void relay_packets(Relayer *relay, mmsghdr *packets, int count) noexcept nogil:
    """Sends a batch."""
    cdef int sent = 0
    cdef int done
    while sent < count:
        done = sendmmsg(relay.sock, &packets[sent], count - sent, MSG_DONTWAIT | MSG_NOSIGNAL)
        if done > 0:
            total_add(&relay.packets, done)
            sent += done
        elif errno == EAGAIN or errno == ENOBUFS:  # no room: nor is there for the rest of the batch
            total_add(&relay.dropped[RELAY_FULL], count - sent)
            return
        else:
            sent += relay_failed(relay)


cdef int relay_failed(Relayer *relay) noexcept nogil:
    """Counts a packet that could not be sent; gives 0 if it is to be tried again, else 1."""
    if errno == EINTR:
        return 0
    if errno == EAGAIN or errno == ENOBUFS:
        total_add(&relay.dropped[RELAY_FULL], 1)
    elif errno == ECONNREFUSED or errno == ENOTCONN or errno == EDESTADDRREQ:
        total_add(&relay.dropped[RELAY_REFUSED], 1)
    elif errno == EMSGSIZE:
        total_add(&relay.dropped[RELAY_TOO_LARGE], 1)
    else:
        total_add(&relay.dropped[RELAY_OTHER], 1)
    return 1


cdef void relay_events(Relayer *events, const char *line, uint32_t size) noexcept nogil:
    """Sends the lines of a packet that are events or service checks, a datagram each."""
    cdef const char *end = line + size
    cdef const char *stop
    while line < end:
        stop = <const char *>memchr(line, '\n', end - line)
        if stop == NULL:
            stop = end
        if line[0] == '_' and is_event(line, stop - line):
            while send(events.sock, line, stop - line, MSG_DONTWAIT | MSG_NOSIGNAL) < 0:
                if relay_failed(events):
                    break
            else:
                total_add(&events.packets, 1)
        line = stop + 1


cdef inline bint is_event(const char *line, size_t size) noexcept nogil:
    return (size >= 3 and memcmp(line, "_e{", 3) == 0) or (size >= 4 and memcmp(line, "_sc|", 4) == 0)


cdef add_relayed(relayed, Relayer *relayer):
    relayed.packets += total_now(&relayer.packets)
    for number, reason in enumerate(NotSent):
        if dropped := total_now(&relayer.dropped[number]):
            relayed.dropped[reason] += dropped
