# cython: language_level=3, freethreading_compatible=True, embedsignature=True
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled calls: arguments checked and turned into the C library's structs, nothing more.

No loop here runs over data. Documented for users in :mod:`fastconv.functional`.
"""

import os as _os
import sys as _sys
from collections import namedtuple as _namedtuple
from contextlib import contextmanager as _contextmanager
from numbers import Real as _Real
from operator import index as _index

import numpy as _numpy

from fastconv import _errors

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastconv._csrc cimport *

cnp.import_array()

cdef extern from "numpy/arrayobject.h" nogil:
    bint PyArray_ISNOTSWAPPED(cnp.ndarray)

include "_outputs.pxi"
include "_arrays.pxi"
include "_words.pxi"
include "_gradients.pxi"
include "_conv2d.pxi"
include "_conv2d_transpose.pxi"
include "_dense.pxi"
include "_pool2d.pxi"
include "_pool2d_marks.pxi"
include "_conv2d_pooled.pxi"
include "_global_pool2d.pxi"
include "_elementwise.pxi"
include "_control.pxi"
