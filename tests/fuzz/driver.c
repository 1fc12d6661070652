/* The function that libFuzzer calls: each input is a packet, handed to tests.fuzz.target in this process
 * with MUTANTS others made of it.
 *
 * The first byte of an input chooses the core, how much time passes and which buckets are flushed (target.py
 * reads it), the rest is the packet. Mutants follow from the input alone, so that an input always means the same. They are made
 * here because the fuzzer's work between two inputs costs many times a packet. The core is a shared object
 * with coverage counters; Python around it has none.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUTANTS 31
#define GROWTH 64

static PyObject *take_packets;

static void fail(void) {
    PyErr_Print();
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    Py_Initialize();
    PyObject *module = PyImport_ImportModule("tests.fuzz.target");
    if (module == NULL) fail();
    take_packets = PyObject_CallMethod(module, "open_target", NULL);
    if (take_packets == NULL) fail();
    return 0;
}

static uint64_t next(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static uint64_t hash(const uint8_t *data, size_t size) { /* FNV-1a */
    uint64_t value = 0xCBF29CE484222325ULL;
    for (size_t i = 0; i < size; i++) value = (value ^ data[i]) * 0x100000001B3ULL;
    return value;
}

/* Changes a packet in place one to four times; gives its new size. There is room for GROWTH bytes more. */
static size_t mutate(char *packet, size_t size, uint64_t *random) {
    static const char meant[] = ":|@#,=[]{}+-.eETcgdhms0123456789\n\r\n\n\0\x7f\x80\xc3\xa4\xe2\xff";
    for (int changes = 1 + (int)(next(random) & 3); changes; changes--) {
        uint64_t r = next(random);
        size_t at = size ? (r >> 8) % size : 0, from = size ? (r >> 24) % size : 0, length = (r >> 40) % 15 + 1;
        char byte = r & 0x80 ? meant[(r >> 48) % (sizeof meant - 1)] : (char)(r >> 56);
        switch (r % 6) {
            case 0:
            case 1:
                if (size) packet[at] = byte;
                break;
            case 2: /* one more */
                memmove(packet + at + 1, packet + at, size - at);
                packet[at] = byte;
                size++;
                break;
            case 3: /* some less */
                if (length > size - at) length = size - at;
                memmove(packet + at, packet + at + length, size - at - length);
                size -= length;
                break;
            case 4: /* a part of it once more, elsewhere */
                if (length > size - from) length = size - from;
                char part[16];
                memcpy(part, packet + from, length);
                memmove(packet + at + length, packet + at, size - at);
                memcpy(packet + at, part, length);
                size += length;
                break;
            default: /* another bit */
                if (size) packet[at] ^= (char)(1 << (r >> 53 & 7));
        }
    }
    return size;
}

static void append(PyObject *packets, const char *packet, size_t size) {
    PyObject *bytes = PyBytes_FromStringAndSize(packet, (Py_ssize_t)size);
    if (bytes == NULL || PyList_Append(packets, bytes)) fail();
    Py_DECREF(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    PyObject *packets = PyList_New(0);
    char *copy = malloc(size + GROWTH);
    if (packets == NULL || copy == NULL) fail();
    uint64_t random = hash(data, size);
    append(packets, (const char *)data + 1, size - 1);
    for (int i = 0; i < MUTANTS; i++) {
        memcpy(copy, data + 1, size - 1);
        append(packets, copy, mutate(copy, size - 1, &random));
    }
    free(copy);
    PyObject *done = PyObject_CallFunction(take_packets, "iO", (int)data[0], packets);
    if (done == NULL) fail();
    Py_DECREF(done);
    Py_DECREF(packets);
    return 0;
}
