/* A Python with the sanitizers' run time in it, so that instrumented shared objects can be loaded. */
#include <Python.h>

int main(int argc, char **argv) {
    return Py_BytesMain(argc, argv);
}
