"""What this build and this process run with, for people and for threadpoolctl."""

from typing import Any

from fastconv import _fastconv_core as _core


def show_config() -> None:
    """Print the version, the instruction sets, the threads and the compiler.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.show_config()  # doctest: +ELLIPSIS
    fastconv ...
    """
    info = _core.build_info()
    print(f"fastconv {info['version']}")
    print(f"instruction set: {info['isa']} (available: {', '.join(info['isas'])})")
    print(f"threads: {info['threads']}")
    print(f"compiler: {info['compiler']}")
    print(f"output pool: {_core.get_output_pool() >> 20} MiB")
    print(f"denormals: {'flushed' if _core.get_flush_denormals() else 'kept'}")


def register_threadpoolctl() -> None:
    """Make the thread pool visible to threadpoolctl, where that is imported already or later.

    threadpoolctl knows a library by its file name among those loaded, and by a controller class.
    """
    try:
        import threadpoolctl
    except ImportError:
        return

    class FastconvController(threadpoolctl.LibController):  # type: ignore[misc]
        """Threads of fastconv's own pool."""

        user_api = "convolution"
        internal_api = "fastconv"
        filename_prefixes = ("_fastconv_core.",)
        check_symbols = ("PyInit__fastconv_core",)

        def get_num_threads(self) -> int:
            return int(_core.get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            _core.set_num_threads(num_threads)

        def get_version(self) -> str:
            return str(_core.__version__)

        def set_additional_attributes(self) -> None:
            self.isa: Any = _core.build_info()["isa"]

    threadpoolctl.register(FastconvController)
