"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv._checks import text
from fastconv.layers import Layer

_HEADINGS = ("layer (type)", "output shape", "parameters")


def table(name: str, layers: Sequence[Layer]) -> str:
    """Return the lines of the table: each layer's name, type, output shape and parameters."""
    rows = [
        (
            f"{layer.name} ({type(layer).__name__})",
            text(layer.output_shape),
            f"{layer.count_params():,}",
        )
        for layer in layers
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    rule = "-" * (sum(widths) + 4)
    total = sum(layer.count_params() for layer in layers)
    trained = sum(weight.size for layer in layers for weight in layer.trainable_weights)
    return "\n".join(
        [
            f"Model {name!r}",
            rule,
            _line(_HEADINGS, widths),
            rule,
            *(_line(row, widths) for row in rows),
            rule,
            f"parameters: {total:,} (trainable {trained:,}, frozen {total - trained:,})",
        ]
    )


def _line(row: tuple[str, str, str], widths: Sequence[int]) -> str:
    name, shape, parameters = row
    return f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {parameters:>{widths[2]}}"
