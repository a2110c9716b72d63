# Threads, denormals, instruction sets: what belongs to the process, and what it is built with.

cdef extern from *:
    """
    #if defined(__clang__)
    #define FC_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FC_COMPILER "gcc " __VERSION__
    #else
    #define FC_COMPILER "unknown"
    #endif
    """
    const char *FC_COMPILER


__version__ = FC_VERSION.decode()


def get_num_threads():
    """Return how many threads a call may use.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_num_threads() >= 1
    True
    """
    return fc_get_num_threads()


cdef int thread_count(object n) except -1:
    cdef int64_t count = whole_number(n, "n", "an int from 1 to 1024")
    if not 1 <= count <= 1024:
        raise _errors.bad_value("n", n, "an int from 1 to 1024", ValueError)
    return <int>count


def set_num_threads(n):
    """Set how many threads a call may use, for the whole process.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_num_threads(fastconv.get_num_threads())
    """
    cdef int count = thread_count(n)
    cdef fc_status status
    with nogil:
        status = fc_set_num_threads(count)
    if status != FC_OK:
        fail(status, {"n": n})


@_contextmanager
def threads(n):
    """Limit the calls of the calling thread to n threads, inside a with statement.

    Parameters
    ----------
    n : int
        From 1 to 1024; a limit around it stays in force.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    cdef int limit = thread_count(n), before = fc_set_thread_limit(0)
    fc_set_thread_limit(min(limit, before) if before else limit)
    try:
        yield
    finally:
        fc_set_thread_limit(before)


def get_flush_denormals():
    """Return whether convolution, dense and optimizer calls flush denormal numbers to zero.

    Returns
    -------
    bool

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_flush_denormals()
    True
    """
    return bool(fc_get_flush_denormals())


def set_flush_denormals(flush):
    """Set whether convolution, dense and optimizer calls flush denormals to zero, process-wide.

    Numbers below the smallest normal one (1.2e-38 in float32) cost a CPU about a hundred times as
    much as others. Flushing ends with the call. Pooling never flushes, so that an average of nothing
    but denormal numbers may take eight times as long as another.

    Parameters
    ----------
    flush : bool
        True unless set.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_flush_denormals(True)
    """
    fc_set_flush_denormals(flag(flush, "flush"))


@_contextmanager
def flushed_denormals():
    """Flush denormal numbers on the calling thread as a convolution does, where that is switched on.

    For what is computed by NumPy between convolutions: means that go to zero over the steps of a
    training end among the denormals and stay there.
    """
    cdef fc_float_state before = fc_float_enter(fc_get_flush_denormals())
    try:
        yield
    finally:
        fc_float_leave(before)


cdef str _POOL_SIZE = "an int of at least 0, in bytes"


cdef int limit_output_pool(object size) except -1:
    cdef int64_t count = whole_number(size, "size", _POOL_SIZE)
    if count < 0:
        raise _errors.bad_value("size", size, _POOL_SIZE, ValueError)
    fc_set_output_pool(<size_t>count)
    return 0


def get_output_pool():
    """Return how many bytes of outputs that have died may wait for the next call.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_output_pool() // 2**20
    256
    """
    return fc_get_output_pool()


def set_output_pool(size):
    """Set how many bytes of outputs that have died may wait for the next call, process-wide.

    Fresh memory costs a page fault for every 4 KB, often more time than what is computed into it.
    So the memory of a large output (128 KiB or more) is kept when its array dies, for an output of
    about the same size. Such arrays own their data and behave as any other.

    Parameters
    ----------
    size : int
        256 MiB unless set or given by ``FASTCONV_OUTPUT_POOL``. With 0 nothing is kept, what was is
        freed, and outputs are allocated by NumPy as other arrays are.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_output_pool(256 * 2**20)
    """
    limit_output_pool(size)


def output_pool_held():
    """Return how many bytes wait for use in the pool of outputs."""
    return fc_output_pool_held()


def available_isas():
    """Return the names of the instruction sets that this build and this CPU have, best last."""
    names = []
    cdef int i = 0
    while fc_available_isa(i) != NULL:
        names.append(fc_available_isa(i).decode())
        i += 1
    return tuple(names)


@_contextmanager
def forced_isa(name):
    """Make the calls of the calling thread use one instruction set; meant for tests."""
    if name not in available_isas() or not fc_force_isa(name.encode()):
        raise _errors.bad_word("name", name, available_isas())
    try:
        yield
    finally:
        fc_force_isa(NULL)


@_contextmanager
def forced_worker_share(work):
    """Make the calling thread divide calls of less work than is worth it; meant for tests."""
    fc_force_worker_share(whole_number(work, "work", "an int"))
    try:
        yield
    finally:
        fc_force_worker_share(0)


def fma_peak(seconds, dtype="float32", threads=1):
    """Measure the multiply-adds that nothing holds up, in floating-point operations a second.

    Parameters
    ----------
    seconds : float
        How long to measure; the best short window counts.
    dtype : {"float32", "float64"}
    threads : int

    Returns
    -------
    float
        Two operations a multiply-add, summed over the threads.
    """
    cdef fc_dtype kind
    cdef int count = thread_count(threads)
    cdef double duration = real_number(seconds, "seconds"), peak
    if dtype == "float32":
        kind = FC_FLOAT32
    elif dtype == "float64":
        kind = FC_FLOAT64
    else:
        raise _errors.bad_word("dtype", dtype, ("float32", "float64"))
    with nogil:
        peak = fc_fma_peak(kind, count, duration)
    return peak


def build_info():
    """Return the version, the instruction sets, the threads and the compiler, as a dict."""
    return {
        "version": __version__,
        "isa": fc_isa_name().decode(),
        "isas": available_isas(),
        "threads": fc_get_num_threads(),
        "compiler": FC_COMPILER.decode().strip(),
    }


if _os.environ.get("FASTCONV_OUTPUT_POOL"):
    try:
        limit_output_pool(int(_os.environ["FASTCONV_OUTPUT_POOL"]))
    except ValueError as error:
        raise _errors.bad_value("FASTCONV_OUTPUT_POOL", _os.environ["FASTCONV_OUTPUT_POOL"],
                                _POOL_SIZE, ImportError) from error

if fc_isa_name() == NULL:
    raise _errors.unknown_isa(_os.environ.get("FASTCONV_ISA"), available_isas())
