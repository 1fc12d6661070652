# The receivers of one core as a Python object: opens a receiver and a thread for each socket, reads totals, stops.


cdef class NativeReceiver:
    """agent/core/interface.py's DatagramReceiver: a thread for each socket. Owns the sockets."""

    behind = False

    cdef NativeCore core
    cdef Receiver *receivers
    cdef int count
    cdef int network_count
    cdef object socks
    cdef object stop_events
    cdef object threads_
    cdef object options  # its sockets have to live
    cdef Network *networks

    def __cinit__(self, NativeCore core, socks, options):
        self.core = core
        self.socks = list(socks)
        self.options = options
        self.count = len(self.socks)
        self.receivers = <Receiver *>take_zeroed(self.count * sizeof(Receiver))
        self.stop_events = [os.eventfd(0) for _ in self.socks]
        self.threads_ = [
            threading.Thread(target=self._run, args=(i,), name=f"receive-{i}", daemon=True)
            for i in range(self.count)
        ]

    def __init__(self, NativeCore core, socks, options):
        packed = options.allowed.packed if options.allowed else b""
        self.networks = <Network *>take_zeroed(len(packed) + sizeof(Network))
        memcpy(self.networks, <const char *>packed, len(packed))
        self.network_count = len(packed) // sizeof(Network)
        for i in range(self.count):
            self._open(i)
        for thread in self.threads_:
            thread.start()

    def __dealloc__(self):
        free(self.receivers)
        free(self.networks)

    cdef void _open(self, int i):
        cdef Receiver *r = &self.receivers[i]
        r.owner = <void *>self
        r.shard = &self.core.core.shards[i % self.core.core.shard_count]
        r.sock = self.socks[i].fileno()
        r.is_unix = self.socks[i].family == socket.AF_UNIX
        r.sources.networks = self.networks
        r.sources.count = 0 if r.is_unix else self.network_count
        r.stop_event = self.stop_events[i]
        r.capacity_packets = capacity_packets(self.socks[i])
        r.nap_ns = longest_nap_ns(self.options.nap_ms, r.capacity_packets)
        r.relay.sock = self.options.relay.fileno() if self.options.relay else -1
        r.events.sock = self.options.events.fileno() if self.options.events else -1
        receiver_open(r)

    cdef woken(self):
        if self.core.wake is not None:
            self.core.wake()

    def _run(self, int i):
        with nogil:
            receiver_run(&self.receivers[i])

    @property
    def threads(self):
        """Threads of its own."""
        return self.count

    @property
    def received(self):
        """Running totals of all sockets."""
        received = ReceiveCounters()
        for i in range(self.count):
            received.packets += total_now(&self.receivers[i].packets)
            received.bytes += total_now(&self.receivers[i].bytes)
            received.foreign += total_now(&self.receivers[i].sources.foreign)
            received.cut_off += total_now(&self.receivers[i].cut_off)
            received.pauses += total_now(&self.receivers[i].pauses)
        return received

    @property
    def relayed(self):
        """Counts of copies to `options.relay`."""
        relayed = RelayCounters()
        for i in range(self.count):
            add_relayed(relayed, &self.receivers[i].relay)
        return relayed

    @property
    def relayed_events(self):
        """Counts of copies to `options.events`."""
        relayed = RelayCounters()
        for i in range(self.count):
            add_relayed(relayed, &self.receivers[i].events)
        return relayed

    def kernel_drops(self):
        """Packets the kernel dropped because the buffer was full; None where it does not say."""
        drops = [kernel_drops(sock) for sock in self.socks]
        return None if None in drops else sum(drops)

    def stop(self):
        """Takes the packets that the kernel still holds, and closes the sockets."""
        for i in range(self.count):
            total_set(&self.receivers[i].stopping, 1)
            os.eventfd_write(self.stop_events[i], 1)
        for i in range(self.count):
            self.threads_[i].join()
            self.socks[i].close()
            os.close(self.stop_events[i])
            receiver_close(&self.receivers[i])


def capacity_packets(sock):
    """Small packets that a socket's queue holds, at most."""
    if sock.family != socket.AF_UNIX:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // KERNEL_PACKET_BYTES
    try:
        with open("/proc/sys/net/unix/max_dgram_qlen") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
