"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv._checks import Shape, text
from fastconv.layers import Layer
from fastconv.models import _memory, _receptive

_HEADINGS = (
    "layer (type)",
    "output shape",
    "parameters",
    "receptive field",
    "inference",
    "training",
)


def table(name: str, layers: Sequence[Layer], input_shape: Shape, batch_size: int) -> str:
    """Return the lines of the table.

    For each layer: name and type, output shape, parameters, the part of the input that one number
    of its output sees, and the memory of its activations for a batch.
    """
    memory = _memory.measured(layers, input_shape, batch_size)
    used = [(_bytes(m.inference), _bytes(m.training)) for m in memory or ()]
    shown = used or [("-", "-")] * len(layers)
    fields = _receptive.fields(layers, input_shape)
    rows = [
        (
            f"{layer.name} ({type(layer).__name__})",
            text(layer.output_shape),
            f"{layer.count_params():,}",
            field,
            *sizes,
        )
        for layer, field, sizes in zip(layers, fields, shown, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    total = sum(layer.count_params() for layer in layers)
    trained = sum(weight.size for layer in layers for weight in layer.trainable_weights)
    return "\n".join(
        [
            f"Model {name!r}, inputs {text(input_shape)}",
            rule,
            _line(_HEADINGS, widths),
            rule,
            *(_line(row, widths) for row in rows),
            rule,
            f"parameters: {total:,} (trainable {trained:,}, frozen {total - trained:,})",
            _totals(memory, batch_size),
        ]
    )


def _totals(memory: Sequence[_memory.Memory] | None, batch_size: int) -> str:
    """Return the line that adds up the memory of activations."""
    if memory is None:
        return "activations: not known, since a size of the input is open"
    outputs = [m.inference for m in memory]
    # In inference, a layer's input goes as soon as its output is there.
    most = max(a + b for a, b in zip([0, *outputs[:-1]], outputs, strict=True))
    kept = sum(m.training for m in memory)
    return (
        f"activations of a batch of {batch_size}: at most {_bytes(most)} at once in inference, "
        f"{_bytes(kept)} kept in training"
    )


def _bytes(count: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row, words to the left and numbers to the right."""
    cells = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
    cells += [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(cells)
