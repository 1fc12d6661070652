# Where UDP packets may come from: the networks of agent/config/networks.py, as numbers.
#
# Owns the look at a packet's sender. IPv4 is seen as IPv6 (::ffff:a.b.c.d), as the networks are.

cdef enum:
    SENDER_BYTES = 28  # of a sockaddr_in6; a sockaddr_in is shorter
    ADDRESS_FAMILY_INET = 2
    ADDRESS_FAMILY_INET6 = 10

cdef struct Network:
    uint64_t address[2]  # bytes as on the wire
    uint64_t mask[2]

cdef struct Sources:
    const Network *networks
    int count  # 0: packets are taken from everywhere
    uint64_t last[2]  # a sender that was allowed; senders come in rows
    bint known  # there is one
    uint64_t foreign  # packets dropped
    bint dropped[BATCH_PACKETS]  # of the batch; all false where there are no networks
    char senders[BATCH_PACKETS][SENDER_BYTES]


cdef void sources_ask(Sources *s, mmsghdr *incoming) noexcept nogil:
    """Has the kernel write the senders of a batch."""
    cdef int i
    for i in range(BATCH_PACKETS):
        incoming[i].msg_hdr.msg_name = &s.senders[i][0]


cdef void sources_reset(mmsghdr *incoming, int count) noexcept nogil:
    """Before each read: the kernel has written how long a sender is."""
    cdef int i
    for i in range(count):
        incoming[i].msg_hdr.msg_namelen = SENDER_BYTES


cdef bint sources_allow(Sources *s, int i) noexcept nogil:
    """Whether the sender of packet `i` is in a network; counts those that are not."""
    cdef uint64_t address[2]
    cdef int n
    s.dropped[i] = False
    if sources_address(&s.senders[i][0], address):
        if s.known and address[0] == s.last[0] and address[1] == s.last[1]:
            return True
        for n in range(s.count):
            if (
                address[0] & s.networks[n].mask[0] == s.networks[n].address[0]
                and address[1] & s.networks[n].mask[1] == s.networks[n].address[1]
            ):
                s.known = True
                s.last[0], s.last[1] = address[0], address[1]
                return True
    s.dropped[i] = True
    total_add(&s.foreign, 1)
    return False


cdef bint sources_address(const char *sender, uint64_t *address) noexcept nogil:
    """Reads the address of a sockaddr as IPv6; False for other families."""
    cdef uint16_t family
    cdef unsigned char mapped[16]
    memcpy(&family, sender, sizeof(family))
    if family == ADDRESS_FAMILY_INET6:
        memcpy(address, sender + 8, 16)
        return True
    if family != ADDRESS_FAMILY_INET:
        return False
    memset(mapped, 0, 10)
    mapped[10] = mapped[11] = 0xFF
    memcpy(mapped + 12, sender + 4, 4)
    memcpy(address, mapped, 16)
    return True
