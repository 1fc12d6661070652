# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The native core: lines in, frames out, without the interpreter's lock (a core: agent/core/interface.py).

One translation unit, so that everything inlines; one file per stage, in the order of the data:

    scan.h       finding the bytes that separate the parts of a line
    c_library.pxi  functions of scan.h and of the C library
    memory.pxi   where all bytes come from
    number.pxi   decimal text to a float
    hash.pxi     the tables' hash, and XXH64
    utf8.pxi     validation
    exponential_buckets.pxi   the bucket of a value
    table.pxi    open addressing
    head.pxi     type and sample rate of a new line; tags.pxi: its tags
    mapping.pxi  the result of a mapping file for it
    new_heads.pxi  from its parts to an entry of the table
    series.pxi   which lines are the same; generations.pxi: for how long that is remembered
    cardinality.pxi  how many series there may be; clients.pxi: who sends them
    last_values.pxi  the values kept of forgotten gauges
    state.pxi    the state of a series in a bucket; lists.pxi: of distributions and sets
    shard.pxi    locks, buckets, flush
    line.pxi     packets to cells, the quick way; slow_line.pxi: any line
    receive.pxi  sockets to packets, in threads (nap.pxi: when; networks.pxi: from whom; relay.pxi: copies)
    columns.pxi  cells to the columns of a frame; frame_rows.pxi: which cells
    open.pxi     from settings to a core

The interface to Python is this file, with native_receiver.pxi (threads), frame_object.pxi (columns to a frame) and
shard_readings.pxi (numbers for operators). agent/protocol/line.py, agent/aggregate/aggregator.py,
agent/aggregate/state.py and agent/core/frame_builder.py are the definition of all of it; the tests hold the two
against each other, bit for bit.
"""

import os
import struct
from collections import Counter as Counts

import msgspec

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport fputs, stderr
from libc.stdlib cimport abort, calloc, free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset
from posix.strings cimport strncasecmp

from agent.wire import frame as wire
from agent.wire.frame import BUCKET_SECONDS
from agent.protocol.line import BARE_TAG_VALUE, TIMER_DIVISORS, Ignored, Kind, Reason, Skip, delta_signs
from agent.protocol.line import parse_metric_key as parse_head_in_python
from agent.aggregate.last_values import RECORD as LAST_VALUE_RECORD
from agent.aggregate.exponential_buckets import EDGES
from agent.aggregate.top_clients import NO_CLIENT, TopClients

include "c_library.pxi"

cdef enum:
    BUCKET_MS = 10_000

cdef struct Core
cdef struct Shard
cdef struct Series

include "memory.pxi"
include "number.pxi"
include "hash.pxi"
include "utf8.pxi"
include "exponential_buckets.pxi"
include "table.pxi"
include "head.pxi"
include "tags.pxi"
include "new_heads.pxi"
include "series.pxi"
include "last_values.pxi"
include "generations.pxi"
include "cardinality.pxi"
include "clients.pxi"
include "state.pxi"
include "lists.pxi"
include "columns.pxi"
include "frame_rows.pxi"
include "shard.pxi"
include "line.pxi"
include "slow_line.pxi"
include "mapping.pxi"
include "open.pxi"


def _begin():
    """Fills the tables, and holds this file against the definition in Python: names by their order."""
    assert BUCKET_MS == BUCKET_SECONDS * 1000
    assert BARE_TAG_VALUE == "true"
    assert layout_is_as_said()
    assert sizeof(LastValue) == LAST_VALUE_RECORD.size
    assert [reason.name for reason in Reason][:REASONS] == (
        "NO_VALUE EMPTY_NAME EMPTY_VALUE BAD_VALUE NO_TYPE UNKNOWN_TYPE BAD_SAMPLE_RATE BAD_TIMESTAMP "
        "INVALID_UTF8 LINE_TOO_LONG NAME_TOO_LONG TAG_TOO_LONG TOO_MANY_TAGS MIXED_TAG_STYLES "
        "CONTROL_CHARACTER"
    ).split()
    assert [kind.name for kind in Kind] == "COUNTER GAUGE DISTRIBUTION SET".split()
    assert [ignored.name for ignored in Ignored] == (
        "UNKNOWN_FIELD EMPTY_TAG DUPLICATE_TAG MALFORMED_TAG"
    ).split()
    fill_number_tables()
    fill_hash_seeds()
    fill_edge_table(EDGES)


_begin()

_REASONS = tuple(Reason)[:REASONS]
_SKIPS = (Skip.EVENT, Skip.SERVICE_CHECK, Skip.MAPPING)
_IGNORED = tuple(Ignored)
_DELTAS = {"never": NO_DELTAS, "plus": PLUS_DELTAS, "signed": SIGNED_DELTAS, "auto": AUTO_DELTAS}
_DELTAS_OF_SIGNS = {delta_signs(name, marked=False): _DELTAS[name] for name in ("never", "plus", "signed")}
_STYLES = {"influx": INFLUX, "librato": LIBRATO, "signalfx": SIGNALFX}


def settle_allocator():
    """Tells the C library how this process uses memory; for an agent's own process, before it is busy."""
    keep_large_buffers_apart()


class LineCounters(msgspec.Struct, frozen=True):
    """Running totals of lines since the start, as agent.aggregate.aggregator.LineCounters; a snapshot."""

    lines: int
    bad: Counts
    skipped: Counts
    ignored: Counts
    clamped_old: int
    clamped_future: int
    overflow_lines: int
    early_flushes: int


cdef class NativeCore:
    """See agent/core/interface.py for the contract of each part. Safe to call from any thread."""

    cdef Core *core
    cdef object wake
    cdef object mapping

    def __cinit__(self, settings, mapper=None, wake=None):
        self.core = core_open(settings)
        self.wake = wake
        if mapper is not None:
            self.mapping = Mapping(mapper, settings.lines)
            self.core.mapper = <void *>self.mapping

    def __dealloc__(self):
        if self.core != NULL:
            core_close(self.core)

    native = True

    @property
    def stats(self):
        """Running totals of lines since the start."""
        lines = 0
        clamped_old = 0
        clamped_future = 0
        overflow_lines = 0
        bad, skipped, ignored = Counts(), Counts(), Counts()
        cdef Shard *shard
        for i in range(self.core.shard_count):
            shard = &self.core.shards[i]
            with nogil:
                pthread_mutex_lock(&shard.lock)
            lines += shard.lines
            clamped_old += shard.clamped_old
            clamped_future += shard.clamped_future
            overflow_lines += shard.overflow_lines
            add_counts(bad, _REASONS, shard.bad)
            add_counts(skipped, _SKIPS, shard.skipped)
            add_counts(ignored, _IGNORED, shard.ignored)
            pthread_mutex_unlock(&shard.lock)
        early = total_now(&self.core.early_flushes)
        return LineCounters(lines, bad, skipped, ignored, clamped_old, clamped_future, overflow_lines, early)

    def take_refused(self):
        """A line refused since the last call, at most its first SHOWN_BYTES, with the reason; else None."""
        cdef Shard *shard
        found = None
        for i in range(self.core.shard_count):
            shard = &self.core.shards[i]
            with nogil:
                pthread_mutex_lock(&shard.lock)
            if shard.refused_bytes:
                found = _REASONS[shard.refused_reason], shard.refused_line[:shard.refused_bytes]
                shard.refused_bytes = 0
            pthread_mutex_unlock(&shard.lock)
        return found

    @property
    def entries(self):
        """Open buckets, their cells, set members and histogram entries."""
        return sum([total_now(&self.core.shards[i].entries_shown) for i in range(self.core.shard_count)])

    @property
    def full(self):
        """True while more than `max_entries` entries wait to become frames."""
        return total_now(&self.core.flushed_entries) > self.core.max_entries

    @property
    def live_series(self):
        """Series of the present bucket."""
        return sum([shard_sum(&self.core.shards[i], 0) for i in range(self.core.shard_count)])

    @property
    def remembered_series(self):
        """Series remembered between buckets."""
        return sum([shard_sum(&self.core.shards[i], 1) for i in range(self.core.shard_count)])

    @property
    def forgotten_heads(self):
        """Heads forgotten before their time because `max_series` was reached."""
        return sum([shard_sum(&self.core.shards[i], 2) for i in range(self.core.shard_count)])

    @property
    def forgotten_last_values(self):
        """Last values of gauges forgotten because `max_last_values` was reached."""
        return sum([shard_sum(&self.core.shards[i], 4) for i in range(self.core.shard_count)])

    @property
    def memory_bytes(self):
        """Tables, heads, series, open buckets and those that wait to become frames."""
        held = sum([shard_sum(&self.core.shards[i], 3) for i in range(self.core.shard_count)])
        return held + total_now(&self.core.flushed_bytes)

    @property
    def longest_stop_ns(self):
        """The longest time that a flush has held a receiver's lock."""
        return total_now(&self.core.longest_stop_ns)

    def add(self, bytes data not None, int64_t now_ms, bytes client not None=NO_CLIENT):
        """Takes whole lines, separated by newlines, of `now_ms`; flushes when that fills the memory."""
        cdef const char *lines = data
        cdef size_t size = len(data)
        cdef bint flushed
        cdef Origin origin
        memset(&origin, 0, sizeof(origin))
        memcpy(origin.address, <const char *>client, min(<size_t>len(client), sizeof(origin.address)))
        with nogil:
            core_add(self.core, lines, size, now_ms, &origin)
            flushed = core_flush_if_full(self.core, now_ms)
        if flushed and self.wake is not None:
            self.wake()

    def set_clock_base(self, int64_t base_ms):
        """Adds this to the steady clock for the time of datagrams."""
        total_set(&self.core.clock_base_ms, <uint64_t>base_ms)

    def receive(self, socks, options):
        """Reads datagram sockets in a thread each, and owns them."""
        return NativeReceiver(self, socks, options)

    def top_metrics(self, int count):
        """The metrics with the most remembered series, and how many each has."""
        found = Counts()
        for i in range(self.core.shard_count):
            for segment in range(SEGMENTS):
                add_metrics(&self.core.shards[i], segment, found)
        return [(name.decode(), series) for name, series in found.most_common(count)]

    def top_clients(self, int count):
        """The clients that were the first to send the most series: address, series, and how many too many."""
        cdef Clients clients
        found = TopClients()
        for i in range(self.core.shard_count):
            with nogil:
                pthread_mutex_lock(&self.core.shards[i].lock)
                clients = self.core.shards[i].clients
                pthread_mutex_unlock(&self.core.shards[i].lock)
            for k in range(clients.count):
                address = (<char *>clients.of[k].address)[: sizeof(clients.of[k].address)]
                found.count(address, clients.of[k].series, clients.of[k].error)
        return found.top(count)

    def sample_tags(self, int count):
        """The tags of about this number of remembered series."""
        found = []
        for i in range(self.core.shard_count):
            for segment in range(SEGMENTS):
                add_tags(&self.core.shards[i], segment, max(count // SEGMENTS // self.core.shard_count, 1), found)
        return found

    def flush(self, int64_t now_ms):
        """Buckets that ended at or before `now_ms` wait to become frames; True if there are any."""
        cdef bint any
        with nogil:
            any = core_flush(self.core, now_ms, False)
        return any

    def flush_all(self, int64_t now_ms):
        """The same for all buckets."""
        cdef bint any
        with nogil:
            any = core_flush(self.core, now_ms, True)
        return any

    def next_frame(self, sender, sequence, int64_t created_ms, *, uint64_t max_rows, uint64_t max_bytes):
        """The next frame of flushed buckets; None if nothing is left."""
        cdef uint64_t rows
        with nogil:
            pthread_mutex_lock(&self.core.framing_lock)
            rows = fill_frame(self.core, max_rows, max_bytes)
        try:
            return frame_of(&self.core.framing, sender, sequence, created_ms) if rows else None
        finally:
            with nogil:
                free_framed(self.core)
                pthread_mutex_unlock(&self.core.framing_lock)

    def export_last_values(self, int64_t now_ms):
        """Records of the last values of gauges that may get deltas; a key may come twice."""
        cdef Records records
        memset(&records, 0, sizeof(records))
        with nogil:
            if self.core.max_last_values:
                export_values(
                    &self.core.shards[0], &records, max(now_ms - self.core.last_value_ms, <int64_t>0)
                )
        try:
            return PyBytes_FromStringAndSize(<char *>records.items, records.count * sizeof(LastValue))
        finally:
            free(records.items)

    def import_last_values(self, bytes data not None, int64_t now_ms):
        """Takes such records, before the first line."""
        cdef const char *records = data
        cdef size_t count = len(data) // sizeof(LastValue)
        cdef int64_t oldest_ms = now_ms - self.core.last_value_ms
        with nogil:
            import_values(
                &self.core.shards[0], <const LastValue *>records, count, oldest_ms,
                now_ms + self.core.future_ms,
            )

    def remap(self, mapper not None):
        """Forgets all heads, and asks another mapper about them. Raises ValueError for a core without one."""
        cdef Shard *shard
        if self.mapping is None:
            raise ValueError("the core was opened without a mapper")
        (<Mapping>self.mapping).mapper = mapper  # first: a head that is made meanwhile is forgotten, too
        with nogil:
            for i in range(self.core.shard_count):
                shard = &self.core.shards[i]
                pthread_mutex_lock(&shard.lock)
                shard_turn(shard)
                shard_turn(shard)
                while shard.sweeps:  # limits of series are for those of the new mapper
                    shard_sweep(shard, IDLE_SWEEP_SLOTS)
                    pthread_mutex_unlock(&shard.lock)  # receivers go on between two steps
                    pthread_mutex_lock(&shard.lock)
                pthread_mutex_unlock(&shard.lock)

    def sweep(self):
        """Frees at once all that is to be forgotten; else a part of it goes with every flush and batch."""
        cdef Shard *shard
        with nogil:
            for i in range(self.core.shard_count):
                shard = &self.core.shards[i]
                pthread_mutex_lock(&shard.lock)
                shard.sweeps = 2
                while shard.sweeps:
                    shard_sweep(shard, IDLE_SWEEP_SLOTS)
                pthread_mutex_unlock(&shard.lock)
            give_memory_back()

    def close(self):
        """Nothing to do before the last reference goes: that frees everything."""


include "shard_readings.pxi"
include "frame_object.pxi"
include "receive.pxi"
include "native_receiver.pxi"
