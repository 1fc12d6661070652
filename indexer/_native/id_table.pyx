# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A near cache of string ids without a Python object per string (indexer/intern/cache.py is its contract).

Two generations of open addressing. An entry is 128 bits of hash and the id, so a look-up touches one line
of memory, and the lines of 64 strings are fetched together. Strings are not kept: two that meet in all 128
bits would share an id, once in 2^88 for a million cached and a million asked; the hash's seeds are random
per cache, so no client can look for such strings.

The interpreter's lock is the only one: whatever touches the generations calls nothing of Python.
"""

import os
import struct

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline uint64_t fold_128(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    #define PREFETCH(p) __builtin_prefetch(p)
    """
    uint64_t fold_128(uint64_t a, uint64_t b) noexcept nogil
    void PREFETCH(const void *p) noexcept nogil

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    GROUP = 64  # strings hashed before the first is looked up
    FEWEST_SLOTS = 64

cdef struct Entry:
    uint64_t low
    uint64_t high
    uint64_t id  # 0: an empty slot. A deleted one is kept with the id GONE, so that chains stay whole

cdef uint64_t GONE = <uint64_t>-1

cdef struct Generation:
    Entry *slots
    size_t mask
    size_t filled  # the deleted ones too
    size_t live


cdef inline uint64_t load_64(const char *p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint64_t load_32(const char *p) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word


cdef inline Entry *find_slot(Generation *table, const Entry *wanted) noexcept nogil:
    """The entry of that hash, or the empty one where it would be."""
    cdef size_t at = wanted.low & table.mask
    while table.slots[at].id and not (
        table.slots[at].low == wanted.low and table.slots[at].high == wanted.high
    ):
        at = (at + 1) & table.mask
    return &table.slots[at]


cdef int start(Generation *table, size_t slots) except -1:
    """An empty generation in place of the present one, which is not freed."""
    cdef Entry *room = <Entry *>calloc(slots, sizeof(Entry))
    if room == NULL:
        raise MemoryError
    table.slots = room
    table.mask = slots - 1
    table.filled = 0
    table.live = 0
    return 0


cdef int grow(Generation *table) except -1:
    """Twice the slots, or as many if it was mostly deleted ones that filled them."""
    cdef Generation before = table[0]
    cdef size_t i
    start(table, (before.mask + 1) * (2 if before.live * 4 > before.mask else 1))
    for i in range(before.mask + 1):
        if before.slots[i].id and before.slots[i].id != GONE:
            find_slot(table, &before.slots[i])[0] = before.slots[i]
            table.filled += 1
            table.live += 1
    free(before.slots)
    return 0


cdef class NativeCache:
    """At most `max_entries` ids, the ones not used for long dropped first."""

    cdef Generation young
    cdef Generation old
    cdef size_t half
    cdef uint64_t seeds[4]
    cdef readonly uint64_t dropped

    def __cinit__(self, size_t max_entries):
        if max_entries < 2:
            raise ValueError("an LRU of fewer than 2 entries holds nothing")
        self.half = max_entries // 2
        self.seeds = struct.unpack("<4Q", os.urandom(32))
        start(&self.young, FEWEST_SLOTS)
        start(&self.old, FEWEST_SLOTS)

    def __dealloc__(self):
        free(self.young.slots)
        free(self.old.slots)

    def __len__(self):
        return self.young.live + self.old.live

    def find(self, uint64_t org_id, list strings not None):
        """The ids of strings of an org in their order, as uint64; 0 for a miss."""
        found = np.zeros(len(strings), np.uint64)
        cdef uint64_t[::1] ids = found
        cdef Entry wanted[GROUP]
        cdef size_t count = len(strings)
        cdef size_t begin, i, size
        for begin in range(0, count, GROUP):
            size = min(count - begin, <size_t>GROUP)
            for i in range(size):
                self._hash(org_id, strings[begin + i], &wanted[i])
                PREFETCH(&self.young.slots[wanted[i].low & self.young.mask])
            for i in range(size):
                ids[begin + i] = self._look_up(&wanted[i])
        return found

    def put(self, uint64_t org_id, list strings not None, ids):
        """Keeps the ids of strings of an org, in the same order; an id of 0 is left out."""
        cdef const uint64_t[::1] given = np.ascontiguousarray(ids, np.uint64)
        cdef size_t i
        cdef Entry entry
        if <size_t>len(strings) != <size_t>given.shape[0]:
            raise ValueError("strings and ids of different numbers")
        for i in range(<size_t>given.shape[0]):
            self._hash(org_id, strings[i], &entry)
            entry.id = given[i]
            if entry.id and entry.id != GONE:
                self._forget(&self.old, &entry)
                self._put(&entry)

    def get_many(self, keys):
        out = {}
        for key in keys:
            org_id, _, string = key.partition(":")
            out[key] = int(self.find(int(org_id), [string])[0]) or None
        return out

    def set_many(self, ids):
        for key, value in ids.items():
            org_id, _, string = key.partition(":")
            self.put(int(org_id), [string], [value])

    def delete(self, str key not None):
        cdef Entry entry
        org_id, _, string = key.partition(":")
        self._hash(int(org_id), string, &entry)
        self._forget(&self.young, &entry)
        self._forget(&self.old, &entry)

    cdef int _hash(self, uint64_t org_id, str string, Entry *entry) except -1:
        cdef const char *p
        cdef Py_ssize_t size
        if PyUnicode_IS_COMPACT_ASCII(string):
            p = PyUnicode_DATA(string)
            size = PyUnicode_GET_LENGTH(string)
            self._hash_bytes(org_id, p, size, entry)
        else:
            data = string.encode("utf-8", "surrogatepass")
            self._hash_bytes(org_id, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), entry)
        return 0

    cdef void _hash_bytes(self, uint64_t org_id, const char *p, size_t size, Entry *entry) noexcept nogil:
        """Two chains of multiplications, 16 bytes per step (as wyhash does), each with seeds of its own."""
        cdef uint64_t low = fold_128(org_id ^ self.seeds[0], size ^ self.seeds[1])
        cdef uint64_t high = fold_128(org_id ^ self.seeds[2], size ^ self.seeds[3])
        cdef uint64_t a, b
        cdef const char *end = p + size
        while end - p > 16:
            a = load_64(p)
            b = load_64(p + 8)
            low = fold_128(a ^ low ^ self.seeds[0], b ^ self.seeds[1])
            high = fold_128(a ^ self.seeds[2], b ^ high ^ self.seeds[3])
            p += 16
        if size >= 16:  # the last 16 bytes, also those that were taken before
            a = load_64(end - 16)
            b = load_64(end - 8)
        elif size >= 8:
            a = load_64(p)
            b = load_64(end - 8)
        elif size >= 4:
            a = load_32(p)
            b = load_32(end - 4)
        elif size:
            a = <uint8_t>p[0] | <uint64_t><uint8_t>p[size >> 1] << 8
            b = <uint8_t>(end - 1)[0]
        else:
            a = b = 0
        entry.low = fold_128(a ^ low ^ self.seeds[0], b ^ self.seeds[1])
        entry.high = fold_128(a ^ self.seeds[2], b ^ high ^ self.seeds[3])

    cdef uint64_t _look_up(self, Entry *wanted) except? 0:
        """The id, or 0. An entry that only the old generation has moves to the young one."""
        cdef Entry *slot = find_slot(&self.young, wanted)
        if slot.id and slot.id != GONE:
            return slot.id
        slot = find_slot(&self.old, wanted)
        if slot.id == 0 or slot.id == GONE:
            return 0
        wanted.id = slot.id
        slot.id = GONE
        self.old.live -= 1
        self._put(wanted)
        return wanted.id

    cdef int _put(self, const Entry *entry) except -1:
        cdef Entry *slot = find_slot(&self.young, entry)
        cdef Entry *dropped
        self.young.live += slot.id == 0 or slot.id == GONE
        self.young.filled += slot.id == 0
        slot[0] = entry[0]
        if self.young.live >= self.half:
            self.dropped += self.old.live
            dropped = self.old.slots
            self.old = self.young
            self.young.slots = dropped  # without room for another
            start(&self.young, FEWEST_SLOTS)
            free(dropped)
        elif self.young.filled * 3 >= self.young.mask * 2:
            grow(&self.young)
        return 0

    cdef void _forget(self, Generation *table, const Entry *entry) noexcept nogil:
        cdef Entry *slot = find_slot(table, entry)
        if slot.id and slot.id != GONE:
            slot.id = GONE
            table.live -= 1
