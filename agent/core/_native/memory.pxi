# Memory: where all of the core's bytes come from.
#
# Owns taking and giving back: `take` for single things that live long (heads, series), `Arena` for things that
# live as long as one bucket (histogram entries, set members), `Chunk` for arrays of cells that never move.
# When the machine has no memory left the process ends with a word on stderr: Linux overcommits, so the case is
# rare, and a line of code for each place that could fail would never run in a test.

cdef enum:
    ARENA_CLASSES = 64
    ARENA_FIRST_BYTES = 512
    ARENA_MOST_BYTES = 64 * 1024
    CHUNK_FIRST_ITEMS = 8
    CHUNK_MOST_ITEMS = 2048
    MAPPED_BYTES = 32 * 1024


cdef void out_of_memory() noexcept nogil:
    fputs("meterhouse agent: out of memory\n", stderr)
    abort()


cdef void *take(size_t size) noexcept nogil:
    """`size` bytes; never NULL."""
    cdef void *memory = malloc(size)
    if memory == NULL:
        out_of_memory()
    return memory


cdef void *take_zeroed(size_t size) noexcept nogil:
    cdef void *memory = calloc(1, size)
    if memory == NULL:
        out_of_memory()
    return memory


cdef void *take_more(void *memory, size_t size) noexcept nogil:
    """The same content with room for `size` bytes."""
    cdef void *more = realloc(memory, size)
    if more == NULL:
        out_of_memory()
    return more


# Pages straight from the kernel for large arrays: given back, they leave the process at once.
cdef void *take_pages(size_t size) noexcept nogil:
    cdef void *memory
    if size < MAPPED_BYTES:
        return take(size)
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        out_of_memory()
    return memory


cdef void give_pages(void *memory, size_t size) noexcept nogil:
    if size < MAPPED_BYTES:
        free(memory)
    else:
        munmap(memory, size)


cdef struct ArenaBlock:
    ArenaBlock *next
    size_t size


# Blocks of sizes 16, 24, 32, 48, 64, 96 ... bytes (classes 0, 1, 2 ...), all freed together; one that was
# outgrown is used again for the next of its size.
cdef struct Arena:
    ArenaBlock *blocks
    char *at
    char *end
    size_t next_bytes
    size_t bytes
    void *outgrown[ARENA_CLASSES]


cdef inline size_t class_bytes(int size_class) noexcept nogil:
    return (<size_t>(16 if size_class & 1 == 0 else 24)) << (size_class >> 1)


cdef void *arena_take(Arena *arena, int size_class) noexcept nogil:
    cdef void *block = arena.outgrown[size_class]
    cdef size_t size
    if block != NULL:
        arena.outgrown[size_class] = (<void **>block)[0]
        return block
    size = class_bytes(size_class)
    if <size_t>(arena.end - arena.at) < size:
        arena_grow(arena, size)
    block = arena.at
    arena.at += size
    return block


cdef void arena_grow(Arena *arena, size_t size) noexcept nogil:
    """Room for `size` bytes in one piece; the rest of the last block is lost."""
    cdef size_t want
    cdef ArenaBlock *block
    if arena.next_bytes < ARENA_FIRST_BYTES:
        arena.next_bytes = ARENA_FIRST_BYTES
    want = max(arena.next_bytes, size + sizeof(ArenaBlock))
    arena.next_bytes = min(<size_t>(arena.next_bytes * 2), <size_t>ARENA_MOST_BYTES)
    block = <ArenaBlock *>take_pages(want)
    block.next = arena.blocks
    block.size = want
    arena.blocks = block
    arena.bytes += want
    arena.at = <char *>(block + 1)
    arena.end = <char *>block + want


cdef inline void arena_give(Arena *arena, void *block, int size_class) noexcept nogil:
    (<void **>block)[0] = arena.outgrown[size_class]
    arena.outgrown[size_class] = block


cdef void arena_free(Arena *arena) noexcept nogil:
    cdef ArenaBlock *block = arena.blocks
    cdef ArenaBlock *next
    while block != NULL:
        next = block.next
        give_pages(block, block.size)
        block = next
    memset(arena, 0, sizeof(Arena))


# An array in pieces: items are only added, keep their addresses, and leave from the front, piece by piece.
cdef struct Chunk:
    Chunk *next
    uint32_t used
    uint32_t capacity


cdef struct Pieces:
    Chunk *first
    Chunk *last
    uint64_t count
    size_t bytes


cdef inline char *chunk_items(Chunk *chunk) noexcept nogil:
    return <char *>(chunk + 1)


cdef void *pieces_add(Pieces *pieces, size_t item_bytes) noexcept nogil:
    """Room for one more item, not zeroed."""
    cdef Chunk *chunk = pieces.last
    cdef uint32_t capacity
    if chunk == NULL or chunk.used == chunk.capacity:
        capacity = CHUNK_FIRST_ITEMS if chunk == NULL else min(chunk.capacity * 2, <uint32_t>CHUNK_MOST_ITEMS)
        chunk = <Chunk *>take_pages(sizeof(Chunk) + capacity * item_bytes)
        chunk.next = NULL
        chunk.used = 0
        chunk.capacity = capacity
        if pieces.last == NULL:
            pieces.first = chunk
        else:
            pieces.last.next = chunk
        pieces.last = chunk
        pieces.bytes += sizeof(Chunk) + capacity * item_bytes
    pieces.count += 1
    chunk.used += 1
    return chunk_items(chunk) + (chunk.used - 1) * item_bytes


cdef void pieces_drop_first(Pieces *pieces, size_t item_bytes) noexcept nogil:
    """Frees the first piece."""
    cdef Chunk *chunk = pieces.first
    cdef size_t size = sizeof(Chunk) + chunk.capacity * item_bytes
    pieces.first = chunk.next
    if pieces.first == NULL:
        pieces.last = NULL
    pieces.bytes -= size
    give_pages(chunk, size)
