"""The compiled module, ``fastconv._fastconv_core``; all other metadata is in pyproject.toml."""

import re
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count, environ
from pathlib import Path
from sysconfig import get_platform
from typing import Any

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError

FLAGS = ["-O2", "-g0", "-std=c11", "-fvisibility=hidden", "-ffp-contract=off", "-pthread"]
# The module calls small functions that gcc would write out: 9 KB of a wheel, 20 ns of a call.
# clang says that it has no such limit, and goes on.
MODULE_FLAGS = ["-finline-limit=20"]
COPY_FLAGS = []  # of all but the kernels in csrc/isa
ORDER = []  # tells the linker which functions to put side by side, and which nobody calls
if get_platform() == "linux-x86_64":
    FLAGS.append("-ffunction-sections")
    ORDER += ["-Wl,-T,csrc/isa/order.ld", "-Wl,--gc-sections"]
    # gcc can carry two numbers into a vector by way of an MMX register, and leaves it at that: the
    # registers of the x87 stay in use, and the caller's long doubles are NaN.
    FLAGS.append("-mno-mmx")
    # For any CPU gcc copies structs by rep movs, which takes some 30 cycles to begin; for this one
    # it writes loops: 10 % of a call of 3 us, 3 KB of a wheel less.
    COPY_FLAGS.append("-mtune=skylake")


class ParallelBuildExt(build_ext):
    """A compiler on each CPU, where setuptools would compile one file after the other."""

    def finalize_options(self) -> None:
        """Note whether the build is in place: setuptools clears `inplace` while it builds."""
        super().finalize_options()
        self.stays_in_place = bool(self.inplace)

    def build_extension(self, ext: Extension) -> None:
        """Build ext as setuptools does, but all sources at once and like functions together."""
        compile_serially = self.compiler.compile

        def compile_one(source: str, *, extra_postargs: list[str], **options: Any) -> list[str]:
            own = [] if source.startswith("csrc") else MODULE_FLAGS
            copies = [] if source.startswith("csrc/isa") else COPY_FLAGS
            flags = [*extra_postargs, *own, *copies]
            return compile_serially([source], extra_postargs=flags, **options)

        def compile_in_parallel(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(cpu_count()) as pool:
                objects = pool.map(lambda source: compile_one(source, **options), sources)
                return [name for names in objects for name in names]

        link_as_it_comes = self.compiler.link_shared_object

        # Not every linker knows scripts that only add to its own (gold does not).
        def link_in_order(*files: Any, extra_postargs: list[str], **options: Any) -> None:
            try:
                link_as_it_comes(*files, extra_postargs=[*extra_postargs, *ORDER], **options)
            except LinkError:
                link_as_it_comes(*files, extra_postargs=extra_postargs, **options)

        self.compiler.compile = compile_in_parallel
        self.compiler.link_shared_object = link_in_order
        # Names of functions and tables for unwinding would be a thirtieth of a wheel. Who builds in
        # place, or with flags of their own, means to measure or to debug.
        if not (self.stays_in_place or self.editable_mode or "CFLAGS" in environ):
            ext.extra_compile_args += ["-fno-unwind-tables", "-fno-asynchronous-unwind-tables"]
            ext.extra_link_args.append("-Wl,-s")
        super().build_extension(ext)


core = Extension(
    "fastconv._fastconv_core",
    sources=["fastconv/_fastconv_core.pyx", *map(str, sorted(Path("csrc").rglob("*.c")))],
    depends=[
        "csrc/isa/order.ld",
        *map(str, sorted([*Path("csrc").rglob("*.h"), *Path("fastconv").glob("*.px[di]")])),
    ],
    include_dirs=["csrc", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
    ],
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
)
core.cython_c_in_temp = True  # the generated C goes below build/, not beside the .pyx

# The header has the version, since C users have nothing else.
version = re.search(r'#define FC_VERSION "(.+)"', Path("csrc/fastconv.h").read_text())[1]

setup(version=version, ext_modules=[core], cmdclass={"build_ext": ParallelBuildExt})
