"""The summary: shapes and parameters, receptive fields, and memory against what is measured."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fastconv.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    LayerNormalization,
    MaxPooling2D,
    Reshape,
    SeparableConv2D,
    Softmax,
    UpSampling2D,
)
from fastconv.models import Sequential, _memory, _receptive, lenet5

Array = npt.NDArray[Any]


def lines(model: Sequential, **options: Any) -> list[str]:
    found: list[str] = []
    model.summary(print_fn=found.append, **options)
    return "\n".join(found).splitlines()


def test_what_it_tells_of_lenet5() -> None:
    model = lenet5()
    model.layers[0].trainable = False
    found = lines(model, batch_size=64)
    rows = [line.split("  ") for line in found[4:12]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == [
        "conv2d_1 (Conv2D)", "(None, 28, 28, 6)", "156", "5x5", "1.1 MiB", "0 B",
    ]  # fmt: skip
    # A pooling keeps its output, which the next layer needs, and as many marks: not what it pooled.
    assert cells[1][2:] == ["0", "6x6", "294.0 KiB", "588.0 KiB"]
    assert cells[2][1:4] == ["(None, 10, 10, 16)", "2,416", "14x14"]
    assert cells[4] == ["flatten_1 (Flatten)", "(None, 400)", "0", "all", "0 B", "0 B"]
    assert cells[5][2:] == ["48,120", "all", "30.0 KiB", "30.0 KiB"]
    assert found[0] == "Model 'lenet5', inputs (None, 28, 28, 1)"
    assert found[-2] == "parameters: 61,706 (trainable 61,550, frozen 156)"
    assert found[-1] == (
        "activations of a batch of 64: at most 1.4 MiB at once in inference, "
        "841.5 KiB kept in training"
    )
    assert len({len(line) for line in found[1:13]}) == 1


def test_open_sizes_have_no_memory() -> None:
    model = Sequential([Conv2D(2, 3, input_shape=(None, None, 3)), MaxPooling2D()])
    found = lines(model)
    assert found[4].split()[-3:] == ["3x3", "-", "-"]
    assert found[-1] == "activations: not known, since a size of the input is open"


def test_a_batch_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, received 0"):
        lenet5().summary(batch_size=0)


def chains() -> dict[str, list[Layer]]:
    return {
        "plain": [
            Conv2D(4, 3, activation="swish"), MaxPooling2D(), Conv2D(2, 3), AveragePooling2D(),
            Flatten(), Dense(9, "tanh"), Dropout(0.5), Dense(3, "softmax"),
        ],
        "normalised": [
            Conv2D(4, 3, use_bias=False), BatchNormalization(), Activation("relu"),
            DepthwiseConv2D(3), LayerNormalization(), SeparableConv2D(3, 3), Activation("sigmoid"),
            GlobalAveragePooling2D(), Dense(2),
        ],
        "images": [Cropping2D(1), UpSampling2D(2), Conv2DTranspose(2, 3, 2), Softmax()],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "normalised", "images"])
def test_memory_is_what_a_forward_pass_keeps(name: str) -> None:
    """NumPy tells tracemalloc of its arrays: what is left of a call is what the way back holds."""
    model = Sequential(chains()[name], seed=0)
    x = np.random.default_rng(0).random((48, 20, 20, 3), np.float32)
    model.build((None, *x.shape[1:]))
    expected = _memory.measured(model.layers, (None, 20, 20, 3), 48)
    assert expected is not None
    model.forward(x, training=True)  # what the first call alone allocates
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        y, backprop = model.forward(x, training=True)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert backprop is not None
    # Python's own objects add some kB, and the output is kept by its caller, if by nobody else.
    assert sum(m.training for m in expected) == pytest.approx(kept, rel=0.02, abs=20_000 + y.nbytes)


def field(*chain: Layer, shape: tuple[int | None, ...] = (None, 60, 60, 2)) -> list[str]:
    return _receptive.fields(chain, shape)


def seen(chain: list[Layer], size: int) -> tuple[int, int]:
    """Find by NaNs how many rows and columns of the input reach one number of the output.

    A NaN in one pixel reaches all that sees it. The most that any output sees is what counts.
    """
    model = Sequential(chain, seed=0)
    y = model(np.ones((1, size, size, 1)))
    reached = np.zeros((size, *y.shape[1:3]), bool)
    for index in range(size):
        x = np.ones((1, size, size, 1))
        x[0, index, index] = np.nan
        reached[index] = np.isnan(model(x)[0]).any(-1)
    rows, columns = reached.any(2).sum(0).max(), reached.any(1).sum(0).max()
    return int(rows), int(columns)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Conv2D(2, 3)],
        lambda: [Conv2D(2, (3, 5), (2, 1)), Conv2D(2, (2, 3))],
        lambda: [Conv2D(2, 3, dilation_rate=2), MaxPooling2D(2), Conv2D(1, 2)],
        lambda: [AveragePooling2D(3, 2), DepthwiseConv2D(3), MaxPooling2D((1, 2))],
        lambda: [SeparableConv2D(2, 3, 2), SeparableConv2D(2, 3)],
        lambda: [Conv2DTranspose(2, 4, 2)],
        lambda: [Conv2DTranspose(2, 3, 1), Conv2D(2, 3)],
        lambda: [MaxPooling2D(2), Conv2D(1, 3, padding="same"), UpSampling2D(2), Conv2D(1, 1)],
        lambda: [MaxPooling2D(2), UpSampling2D(2, interpolation="bilinear")],
    ],
)
def test_receptive_fields_by_sending_nans(make: Any) -> None:
    height, width = seen(make(), 24)
    assert field(*make(), shape=(None, 24, 24, 1))[-1] == f"{height}x{width}"


def test_receptive_fields_of_layers_that_do_not_widen_them() -> None:
    found = field(
        Conv2D(4, 3), BatchNormalization(), Activation("relu"), Softmax(), Dropout(0.5),
        LayerNormalization(), Dense(3), Reshape((-1,)), Dense(2),
    )  # fmt: skip
    assert found == ["3x3"] * 7 + ["all"] * 2
    assert field(Conv2D(4, 3), GlobalAveragePooling2D()) == ["3x3", "all"]
    assert field(Dense(3), shape=(None, 5)) == ["all"]


def test_receptive_fields_that_nobody_knows() -> None:
    class Own(Layer):
        def _forward(self, x: Array, training: Any) -> Any:
            return x, lambda dy, need_dx: (dy, [])

    assert field(Conv2D(4, 3), Own(), Conv2D(2, 3)) == ["3x3", "?", "?"]
    assert field(LayerNormalization(axis=[1, 2, 3])) == ["?"]
