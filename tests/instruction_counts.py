"""Counts the instructions that a kernel takes on aarch64, in an emulator.

qemu prints each block of instructions before it first runs it, and the block's address whenever it
does. The counts repeat exactly.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_TRACE = re.compile(r"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/.*\] (\S+)")
_INSTRUCTION = re.compile(r"0x([0-9a-f]+):  [0-9a-f]{8}  (\S+) *(.*)")


@dataclass(frozen=True)
class Counts:
    """Of one kernel in one call; two registers that are loaded or stored at once count as two."""

    multiply_adds: int
    loads: int
    stores: int
    instructions: int


def count(program: Path, call: str, kernel: str) -> Counts:
    """Return what ``program call`` executes in the function `kernel`."""
    words = ["qemu-aarch64", "-d", "in_asm,exec,nochain", str(program), call]
    log = subprocess.run(words, text=True, stderr=subprocess.PIPE, check=True).stderr
    blocks: dict[int, list[str]] = {}
    total: Counter[str] = Counter()
    block: list[str] = []
    for line in log.splitlines():
        if line.startswith("IN:"):
            block = []
        elif found := _INSTRUCTION.match(line):
            if not block:
                blocks[int(found[1], 16)] = block
            block += ["instruction", *_kinds(found[2], found[3])]
        elif (found := _TRACE.match(line)) and found[2] == kernel:
            total.update(blocks[int(found[1], 16)])
    if not blocks:
        raise RuntimeError("qemu-aarch64 was built without a disassembler")
    return Counts(total["multiply-add"], total["load"], total["store"], total["instruction"])


def _kinds(mnemonic: str, operands: str) -> list[str]:
    if mnemonic in ("fmla", "fmls"):
        return ["multiply-add"]
    kind = {"ld": "load", "st": "store"}.get(mnemonic[:2])
    registers = 2 if mnemonic in ("ldp", "stp") else max(1, operands.partition("}")[0].count("."))
    return [kind] * registers if kind else []


@dataclass(frozen=True)
class Design:
    """What a call's kernel should take; loads and stores are those of one multiply-add."""

    call: str
    kernel: str
    multiply_adds: int
    loads: float
    stores: float


# Tiles are 6 x 4 sums, of vectors of 4: 6 broadcasts and 4 loads for 24 multiply-adds. Chains of
# 128 terms, Winograd's slabs of 16 and the dense kernel's calls of 64 load and store the sums once.
_STEP = (6 + 4) / 24
_COPY = 1 / 144 + 2 / 24 / 4
DESIGNS = (
    Design("direct", "conv_tile", 12 * 12 * 16 * 9 * 128, _STEP + 1 / 128, 1 / 128),
    Design("winograd", "winograd_product", 36 * 36 * 16 * 128, _STEP + 1 / 16, 1 / 16),
    # Two points of 3 tiles of 4 outputs at a time, sums of 24 terms that wait for the others'.
    Design("along rows", "winograd_few_tile", 6 * 6 * 24 * 16 * 24, (4 + 3) / 12, 1 / 24),
    # A sum begins and ends in memory, for 144 pixels; one panel in four copies its 6 elements of x.
    Design("kernel gradient", "dkernel_tile", 12 * 12 * 16 * 9 * 96, _STEP + _COPY, _COPY),
    Design("planes", "plane_tile", 32 * 8 * 6 * 27, _STEP, 1 / 27),
    # Two rows of 7 outputs of 3 x 3 taps: 36 pixels of x, each through the table, and 18 weights.
    Design("depthwise", "depthwise_pixels", 28 * 28 * 16 * 9, (36 + 36 + 18) / 126, 14 / 126),
    Design("dense", "dense_tile", 6 * 64 * 128, _STEP + 1 / 64, 1 / 64),
)

# Beyond the design: what begins and ends a tile, and offsets. One sum of 24 that goes to the stack
# and back with every step is 0.042 of either; its chain then waits for memory as long as the others
# take for a step.
MOST_LOADS, MOST_STORES = 1.25, 0.04


def table(program: Path) -> str:
    """Return the counts beside the designs; a kernel that strays from its own is a ValueError."""
    lines = [
        "| call | kernel | multiply-adds "
        "| loads each: design | counted | stores each: design | counted |",
        "|---|---|---|---|---|---|---|",
    ]
    strays = []
    for design in DESIGNS:
        counts = count(program, design.call, design.kernel)
        loads, stores = (part / counts.multiply_adds for part in (counts.loads, counts.stores))
        lines.append(
            f"| {design.call} | `{design.kernel}` | {counts.multiply_adds:,} "
            f"| {design.loads:.3f} | {loads:.3f} | {design.stores:.3f} | {stores:.3f} |"
        )
        if (
            counts.multiply_adds != design.multiply_adds
            or loads > MOST_LOADS * design.loads
            or stores > design.stores + MOST_STORES
        ):
            strays.append(design.kernel)
    page = "\n".join(lines)
    if strays:
        raise ValueError(f"not as designed: {', '.join(strays)}\n{page}")
    return page
