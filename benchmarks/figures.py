"""The figures in docs/performance.md, taken from benchmarks/RESULTS.md: none is typed.

Between `<!-- figures: CLASS -->` and `<!-- /figures -->` stand a class's layers and its rows of the
tables of means; between `<!-- figures: facts -->` and its end the machine, the commands and the
limits; between `<!-- figures: single -->` and its end the tables of single images.
`python -m benchmarks.figures` brings the page up to date, and so does `spin docs`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import MEANS, SHARES, SINGLE, SPEEDUPS, number, table
from benchmarks.shapes import CATEGORIES, LAYERS

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "performance.md", Path(__file__).with_name("RESULTS.md")

_MARK = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
_KINDS = {MEANS: "ratio", SHARES: "share of the limit", SPEEDUPS: "speed over one thread"}
_PASSES = ("forward", "packed", "dx", "dx from indices", "dkernel")


def filled(page: str, results: str) -> str:
    """The page with the figures of the results between its marks.

    Raises
    ------
    ValueError
        If a mark names no class.
    """

    def block(mark: re.Match[str]) -> str:
        return mark[1] + "\n".join(_lines(mark[2], results)) + "\n" + mark[3]

    return _MARK.sub(block, page)


def _lines(name: str, results: str) -> list[str]:
    if name == "facts":
        facts = re.findall(r"^- (?:Machine|Command|Date|Engines|Limits).*", results, re.MULTILINE)
        return ["", *facts, ""]
    if name == "single":
        return ["", *_single(results)]
    if name not in CATEGORIES:
        known = ", ".join(["facts", "single", *CATEGORIES])
        raise ValueError(f"no class is named {name!r}; there are {known}")
    return ["", *_layers(name), "", *_means(CATEGORIES[name], results)]


def _single(results: str) -> Iterator[str]:
    """The tables of single images, with what each was measured on."""
    for section in results.split("\n## ")[1:]:
        heading, _, lines = section.partition("\n")
        kind, _, run = heading.partition(": ")
        if kind == SINGLE:
            yield from (f"{run}:", lines.rstrip(), "")


def _layers(category: str) -> Iterator[str]:
    """The class's layers, and the operations for each byte that a call moves at least."""
    chosen = [layer for layer in LAYERS if layer.category == category]
    each = [layer.flops / layer.bytes_moved("forward", 4) for layer in chosen]
    names = ", ".join(layer.name for layer in chosen)
    digits = 1 if min(each) < 10 else 0
    between = f"{number(min(each), digits)} to {number(max(each), digits)}"
    yield f"Measured on {names}: {between} operations a byte in the forward pass."


def _means(title: str, results: str) -> list[str]:
    """The class's rows of every table of means, one after the other."""
    rows = []
    for section in results.split("\n## ")[1:]:
        heading, *lines = section.splitlines()
        kind, _, run = heading.partition(": ")
        if kind not in _KINDS:
            continue
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        head = next((row for row in cells if row[0] == "class"), [])
        for row in cells:
            if row[0] == title:
                found = dict(zip(head, row, strict=True))
                rows.append([_KINDS[kind], run, *(found.get(p, "-") for p in _PASSES)])
    if not rows:
        return ["Not measured yet.", ""]
    return table(["", "run", *_PASSES], rows)


def main() -> int:
    """The command; returns its exit status."""
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before, RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE.name}: {'up to date' if after == before else 'changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
