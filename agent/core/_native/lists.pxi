# Lists and tables: the indexes of one distribution, the members of one set.
#
# Most series see few values in 10 s, so both begin as a list: a chain of blocks of 32, 64 and 128 bytes, so that
# growing leaves nothing unused. A list that is full, or gets a weight that is not 1, turns into a hash
# table. Both count each index and member once in their bucket's `entries`.


# Lists.


cdef inline uint32_t list_room(uint32_t blocks, size_t item_bytes) noexcept nogil:
    """Items that a list of `blocks` blocks holds."""
    return <uint32_t>((((<size_t>32 << blocks) - 32) - blocks * sizeof(ListBlock)) // item_bytes)


cdef inline void *list_add(
    Arena *arena, void **last, uint8_t *blocks, uint32_t used, size_t item_bytes
) noexcept nogil:
    """Room for one more item at the end of a list that is not full."""
    cdef ListBlock *block = <ListBlock *>last[0]
    if used == list_room(blocks[0], item_bytes):
        block = <ListBlock *>arena_take(arena, LIST_FIRST_CLASS + 2 * blocks[0])
        block.before = <ListBlock *>last[0]
        last[0] = block
        blocks[0] += 1
    return <char *>(block + 1) + (used - list_room(blocks[0] - 1, item_bytes)) * item_bytes


cdef void list_give(Arena *arena, void *last, uint32_t blocks) noexcept nogil:
    """Gives the blocks of a list back."""
    cdef ListBlock *block = <ListBlock *>last
    cdef ListBlock *before
    while block != NULL:
        before = block.before
        blocks -= 1
        arena_give(arena, block, LIST_FIRST_CLASS + 2 * blocks)
        block = before


# Entries of distributions.


cdef inline void distribution_count(
    Bucket *bucket, Distribution *cell, int32_t index, double weight
) noexcept nogil:
    cdef void *item
    if not cell.is_table:
        if weight == 1.0 and cell.used < list_room(LIST_BLOCKS, sizeof(int32_t)):
            bucket.entries += not index_listed(cell, index)
            item = list_add(&bucket.arena, &cell.indexes, &cell.blocks, cell.used, sizeof(int32_t))
            (<int32_t *>item)[0] = index
            cell.used += 1
            return
        indexes_to_table(bucket, cell)
    table_count(bucket, cell, index, weight)


cdef inline bint index_listed(Distribution *cell, int32_t index) noexcept nogil:
    """Is the index in the list? It will be: most are new, and need no look at blocks far from the cache."""
    cdef uint64_t bit = <uint64_t>1 << ((<uint32_t>index * 0x9E3779B1U) >> 26)
    if cell.listed & bit:
        return index_in_blocks(cell, index)
    cell.listed |= bit
    return False


cdef bint index_in_blocks(Distribution *cell, int32_t index) noexcept nogil:
    cdef ListBlock *block = <ListBlock *>cell.indexes
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef int32_t *items
    cdef bint found = False
    cdef uint32_t i
    while block != NULL:
        blocks -= 1
        items = <int32_t *>(block + 1)
        for i in range(end - list_room(blocks, sizeof(int32_t))):
            found |= items[i] == index
        end = list_room(blocks, sizeof(int32_t))
        block = block.before
    return found


cdef uint32_t list_to_counts(Distribution *cell, IndexCount *counts) noexcept nogil:
    """The listed indexes, each counted once, into `counts`; gives their number."""
    cdef ListBlock *block = <ListBlock *>cell.indexes
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint32_t start, i
    while block != NULL:
        blocks -= 1
        start = list_room(blocks, sizeof(int32_t))
        for i in range(start, end):
            counts[i].index = (<int32_t *>(block + 1))[i - start]
            counts[i].count = 1.0
        end = start
        block = block.before
    return cell.used


cdef void indexes_to_table(Bucket *bucket, Distribution *cell) noexcept nogil:
    """Turns the list into a hash table."""
    cdef IndexCount listed[64]
    cdef uint32_t count = list_to_counts(cell, listed)
    cdef uint64_t entries = bucket.entries
    cdef uint32_t i
    list_give(&bucket.arena, cell.indexes, cell.blocks)
    cell.is_table = True
    cell.used = 0
    cell.size_class = TABLE_CLASS - 4 if count < 4 else TABLE_CLASS
    cell.indexes = table_new(bucket, cell.size_class)
    for i in range(count):
        table_count(bucket, cell, listed[i].index, 1.0)
    bucket.entries = entries


cdef inline uint32_t table_home(int32_t index, uint32_t capacity) noexcept nogil:
    return <uint32_t>((<uint64_t>(<uint32_t>index * 0x9E3779B1U) * capacity) >> 32)


cdef inline uint32_t table_slots(const Distribution *cell) noexcept nogil:
    return <uint32_t>(class_bytes(cell.size_class) // sizeof(IndexCount))


cdef IndexCount *table_new(Bucket *bucket, int size_class) noexcept nogil:
    cdef IndexCount *slots = <IndexCount *>arena_take(&bucket.arena, size_class)
    cdef size_t i
    for i in range(class_bytes(size_class) // sizeof(IndexCount)):
        slots[i].index = NO_INDEX
    return slots


cdef inline IndexCount *table_find(IndexCount *slots, uint32_t capacity, int32_t index) noexcept nogil:
    """The slot of an index, or the empty one where it belongs."""
    cdef uint32_t at = table_home(index, capacity)
    while slots[at].index != index and slots[at].index != NO_INDEX:
        at = (at + 1) & (capacity - 1)
    return &slots[at]


cdef inline void table_count(Bucket *bucket, Distribution *cell, int32_t index, double weight) noexcept nogil:
    cdef uint32_t capacity = table_slots(cell)
    cdef IndexCount *slot = table_find(<IndexCount *>cell.indexes, capacity, index)
    if slot.index == index:
        slot.count += weight
        return
    if (cell.used + 1) * 4 > capacity * 3:
        table_grow(bucket, cell, capacity)
        slot = table_find(<IndexCount *>cell.indexes, capacity * 2, index)
    slot.index = index
    slot.count = weight
    cell.used += 1
    bucket.entries += 1


cdef void table_grow(Bucket *bucket, Distribution *cell, uint32_t capacity) noexcept nogil:
    cdef IndexCount *before = <IndexCount *>cell.indexes
    cdef IndexCount *slots = table_new(bucket, cell.size_class + 2)
    cdef size_t i
    for i in range(capacity):
        if before[i].index != NO_INDEX:
            table_find(slots, capacity * 2, before[i].index)[0] = before[i]
    arena_give(&bucket.arena, before, cell.size_class)
    cell.indexes = slots
    cell.size_class += 2


# Members of sets.


cdef void set_add(Bucket *bucket, MemberSet *cell, uint64_t member) noexcept nogil:
    cdef uint32_t at
    cdef void *item
    if member == 0:
        bucket.entries += not cell.has_zero
        cell.has_zero = True
        return
    if not cell.is_table:
        if member_listed(cell, member):
            return
        if cell.used < list_room(LIST_BLOCKS, sizeof(uint64_t)):
            item = list_add(&bucket.arena, &cell.members, &cell.blocks, cell.used, sizeof(uint64_t))
            (<uint64_t *>item)[0] = member
            cell.used += 1
            bucket.entries += 1
            return
        members_to_table(bucket, cell)
    at = member_place(<uint64_t *>cell.members, member_slots(cell), member)
    if (<uint64_t *>cell.members)[at] == member:
        return
    if (cell.used + 1) * 4 > member_slots(cell) * 3:
        members_grow(bucket, cell)
        at = member_place(<uint64_t *>cell.members, member_slots(cell), member)
    (<uint64_t *>cell.members)[at] = member
    cell.used += 1
    bucket.entries += 1


cdef inline bint member_listed(MemberSet *cell, uint64_t member) noexcept nogil:
    """Is the member in the list? It will be, or the list turns into a table."""
    cdef uint64_t bit = <uint64_t>1 << (member >> 58)
    if cell.listed & bit:
        return member_in_blocks(cell, member)
    cell.listed |= bit
    return False


cdef bint member_in_blocks(MemberSet *cell, uint64_t member) noexcept nogil:
    cdef ListBlock *block = <ListBlock *>cell.members
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint64_t *items
    cdef uint32_t i
    while block != NULL:
        blocks -= 1
        items = <uint64_t *>(block + 1)
        for i in range(end - list_room(blocks, sizeof(uint64_t))):
            if items[i] == member:
                return True
        end = list_room(blocks, sizeof(uint64_t))
        block = block.before
    return False


cdef uint32_t list_members(MemberSet *cell, uint64_t *members) noexcept nogil:
    """The members of a list into `members`; gives their number."""
    cdef ListBlock *block = <ListBlock *>cell.members
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint32_t start
    while block != NULL:
        blocks -= 1
        start = list_room(blocks, sizeof(uint64_t))
        memcpy(members + start, block + 1, (end - start) * sizeof(uint64_t))
        end = start
        block = block.before
    return cell.used


cdef inline uint32_t member_slots(MemberSet *cell) noexcept nogil:
    return <uint32_t>(class_bytes(cell.size_class) // sizeof(uint64_t))


cdef inline uint32_t member_place(uint64_t *slots, uint32_t capacity, uint64_t member) noexcept nogil:
    """The slot of a member, or the empty one where it belongs.

    It depends on a secret: XXH64 does not, and who knows it can make members that collide.
    """
    cdef uint64_t at
    multiply_128(member * (seeds.first | 1), capacity, &at)
    while slots[at] and slots[at] != member:
        at = (at + 1) & (capacity - 1)
    return <uint32_t>at


cdef void members_to_table(Bucket *bucket, MemberSet *cell) noexcept nogil:
    """Turns the list into a hash table."""
    cdef uint64_t listed[32]
    cdef uint32_t count = list_members(cell, listed)
    list_give(&bucket.arena, cell.members, cell.blocks)
    cell.is_table = True
    cell.size_class = TABLE_CLASS
    cell.members = members_new(bucket, cell.size_class, listed, count)


cdef void members_grow(Bucket *bucket, MemberSet *cell) noexcept nogil:
    cdef void *before = cell.members
    cell.members = members_new(bucket, cell.size_class + 2, <uint64_t *>before, member_slots(cell))
    arena_give(&bucket.arena, before, cell.size_class)
    cell.size_class += 2


cdef void *members_new(
    Bucket *bucket, int size_class, const uint64_t *members, uint32_t count
) noexcept nogil:
    """A hash table of members, of which some may be 0: no member."""
    cdef uint64_t *slots = <uint64_t *>arena_take(&bucket.arena, size_class)
    cdef uint32_t capacity = <uint32_t>(class_bytes(size_class) // sizeof(uint64_t))
    cdef uint32_t i
    memset(slots, 0, class_bytes(size_class))
    for i in range(count):
        if members[i]:
            slots[member_place(slots, capacity, members[i])] = members[i]
    return slots
