# New arrays for results: large ones on memory that earlier results gave back.
#
# NumPy lets the memory of an array come from a handler (NEP 49), which it keeps with the array and
# frees the data by. The alternative, an array around memory that belongs to its base, would not own
# its data: `resize` would refuse it, and `y + 1 - x` would need a second temporary. A handler is set
# for the thread's context alone and for one allocation; one that the user has set stays.

from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset, strcpy

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept nogil
        void *(*calloc)(void *, size_t, size_t) noexcept nogil
        void *(*realloc)(void *, void *, size_t) noexcept nogil
        void (*free)(void *, void *, size_t) noexcept nogil

    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator

    object PyDataMem_SetHandler(object)
    object PyDataMem_GetHandler()
    PyObject *PyDataMem_DefaultHandler

# Smaller arrays come from the heap, which reuses memory by itself; from about here on glibc maps them.
cdef enum:
    POOLED_BYTES = 128 * 1024


cdef void *pool_malloc(void *context, size_t size) noexcept nogil:
    return fc_output_acquire(size)


cdef void *pool_calloc(void *context, size_t count, size_t size) noexcept nogil:
    cdef void *memory
    if size and count > <size_t>-1 // size:
        return NULL
    memory = fc_output_acquire(count * size)
    if memory != NULL:
        memset(memory, 0, count * size)
    return memory


cdef void *pool_realloc(void *context, void *memory, size_t size) noexcept nogil:
    cdef size_t kept = fc_output_capacity(memory)
    cdef void *moved
    if size <= kept and size > kept // 2:
        return memory
    moved = fc_output_acquire(size)
    if moved != NULL:
        memcpy(moved, memory, min(kept, size))
        fc_output_release(memory)
    return moved


cdef void pool_free(void *context, void *memory, size_t size) noexcept nogil:
    fc_output_release(memory)


cdef PyDataMem_Handler pool_handler
strcpy(pool_handler.name, "fastconv_output_pool")
pool_handler.version = 1
pool_handler.allocator.ctx = NULL
pool_handler.allocator.malloc = pool_malloc
pool_handler.allocator.calloc = pool_calloc
pool_handler.allocator.realloc = pool_realloc
pool_handler.allocator.free = pool_free
cdef object _POOL_HANDLER = PyCapsule_New(&pool_handler, "mem_handler", NULL)


cdef bint worth_pooling(int ndim, cnp.npy_intp *size, int kind) noexcept:
    cdef double bytes = 4 if kind == cnp.NPY_FLOAT32 else 8
    cdef int i
    for i in range(ndim):
        bytes *= size[i]
    return bytes >= POOLED_BYTES and fc_get_output_pool() > 0


cdef cnp.ndarray new_array(int ndim, cnp.npy_intp *size, int kind):
    """A C-contiguous array of float32, float64 or int64 whose values are unspecified."""
    if not worth_pooling(ndim, size, kind):
        return cnp.PyArray_EMPTY(ndim, size, kind, 0)
    before = PyDataMem_GetHandler()
    if <PyObject *>before != PyDataMem_DefaultHandler:
        return cnp.PyArray_EMPTY(ndim, size, kind, 0)
    PyDataMem_SetHandler(_POOL_HANDLER)
    try:
        return cnp.PyArray_EMPTY(ndim, size, kind, 0)
    finally:
        PyDataMem_SetHandler(before)
