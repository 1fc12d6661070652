# Clients by the series that they were the first to send: a table of a bounded number, for /debug/top.
#
# Owns the counts. A known series costs nothing: a client is looked for where a series is made, or a line is
# beyond a limit. The definition is agent/aggregate/top_clients.py.

cdef enum:
    MAX_CLIENTS = 128  # agent.aggregate.top_clients.MAX_CLIENTS

cdef struct Client:
    uint64_t address[2]  # as IPv6; zeros: no address
    uint64_t series
    uint64_t error

cdef struct Clients:
    int count
    Client of[MAX_CLIENTS]

cdef struct Origin:  # of the packets of a batch
    const char *buffers  # with a sender for each PACKET_STRIDE bytes
    const char *senders  # NULL: all are from `address`
    uint64_t address[2]


cdef void clients_count(Clients *clients, const uint64_t *address, uint64_t series) noexcept nogil:
    """Counts series of a client; where the table is full it takes the place of the one with the fewest."""
    cdef Client *client
    cdef int i, fewest = 0
    for i in range(clients.count):
        client = &clients.of[i]
        if client.address[0] == address[0] and client.address[1] == address[1]:
            client.series += series
            return
        if client.series < clients.of[fewest].series:
            fewest = i
    if clients.count < MAX_CLIENTS:
        client = &clients.of[clients.count]
        clients.count += 1
    else:
        client = &clients.of[fewest]
        client.error = client.series
    client.address[0], client.address[1] = address[0], address[1]
    client.series += series


cdef void count_client(Shard *shard, uint64_t series) noexcept nogil:
    """Counts series of the sender of the line that is being added."""
    cdef const Origin *origin = shard.origin
    cdef uint64_t address[2]
    cdef size_t packet
    if origin.senders == NULL:
        clients_count(&shard.clients, origin.address, series)
        return
    packet = (shard.packet_line - origin.buffers) // PACKET_STRIDE
    if sources_address(origin.senders + packet * SENDER_BYTES, address):
        clients_count(&shard.clients, address, series)
