# Shared memory that a class of ours reads for as long as it lives, whoever closes it meanwhile.

from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t


cdef void *mapped(memory, int flags, uint64_t size, Py_buffer *views, int *count) except NULL:
    """Hold a buffer of so many bytes at least, as the next of these views."""
    cdef Py_buffer *view = &views[count[0]]
    PyObject_GetBuffer(memory, view, flags)
    count[0] += 1
    if <uint64_t> view.len < size:
        raise ValueError(f"{view.len} bytes of {size}")
    return view.buf


cdef void unmap(Py_buffer *views, int count):
    """Let go of these views."""
    for i in range(count):
        PyBuffer_Release(&views[i])
