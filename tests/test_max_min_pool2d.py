"""Max and min pooling, bit for bit: values, indices, gradients; ties, zeros, infinities, NaN."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import reference
import strategies
from closeness import assert_same_bits
from fastconv import functional
from guards import GuardedOutput, guarded_input
from strategies import PoolProblem

Array = npt.NDArray[Any]

NAMES = ("max_pool2d", "min_pool2d")

LAYERS = {
    "lenet 2x2": PoolProblem(3, 28, 28, 6),
    "vgg 2x2": PoolProblem(1, 28, 28, 64),
    "resnet 3x3 stride 2": PoolProblem(2, 27, 29, 65, 3, 2, 1),
    "3x3 stride 2, rows that no window holds": PoolProblem(2, 12, 14, 33, 3, 2),
    "3x3 stride 2, a window": PoolProblem(1, 3, 2, 17, 3, 2, (0, 1)),
    "3x3 stride 2, many channels": PoolProblem(3, 5, 8, 1030, 3, 2, (1, 0)),
    "googlenet ceil": PoolProblem(1, 28, 28, 35, 3, 2, "valid", 1, True),
    "3x3 stride 2, planes side by side": PoolProblem(2, 13, 13, 7, 3, 2),
    "3x3 stride 2, planes side by side, ceil": PoolProblem(1, 8, 8, 49, 3, 2, "valid", 1, True),
    "3x3 stride 2, planes side by side, padded": PoolProblem(3, 7, 14, 5, 3, 2, 1),
    "3x3 stride 2, rows of many vectors": PoolProblem(1, 40, 197, 2, 3, 2, (0, 1)),
    "inception 3x3 stride 1": PoolProblem(1, 17, 18, 33, 3, 1, 1),
    "rows of 16": PoolProblem(1, 3, 16, 35, 3, 1, 1),
    "rows of 14": PoolProblem(2, 14, 14, 19, 3, 1, 1),
    "rows of 12, many channels": PoolProblem(2, 5, 12, 150, 3, 1, 1),
    "rows of 9": PoolProblem(1, 2, 9, 18, 3, 1, 1),
    "a column": PoolProblem(2, 5, 1, 17, 3, 1, 1),
    "rows of 20": PoolProblem(1, 20, 20, 150, 3, 1, 1),
    "rows of 32": PoolProblem(1, 9, 32, 19, 3, 1, 1),
    "a row of 6": PoolProblem(2, 1, 6, 2, 3, 1, 1),
    "spp 13x13": PoolProblem(1, 7, 7, 17, 13, 1, 6),
    "spp 5x5": PoolProblem(2, 13, 13, 35, 5, 1, 2),
    "spp 5x5, few channels": PoolProblem(1, 9, 13, 5, 5, 1, 2),
    "spp 5x5, many channels": PoolProblem(2, 5, 6, 300, 5, 1, 2),
    "spp 5x5, two rows": PoolProblem(3, 2, 3, 41, 5, 1, 2),
    "spp 5x5, two columns": PoolProblem(1, 7, 2, 64, 5, 1, 2),
    "spp 5x5, a row": PoolProblem(2, 1, 9, 33, 5, 1, 2),
    "spp 5x5, pixels a power of two apart": PoolProblem(1, 38, 37, 256, 5, 1, 2),
    "windows in blocks of channels": PoolProblem(1, 30, 31, 50, 6, 1, (2, 3)),
    "windows in blocks of rows": PoolProblem(1, 90, 61, 19, (5, 4), 1, (2, 0)),
    "windows in blocks of rows, planes": PoolProblem(1, 300, 37, 7, (6, 5), (2, 1), (5, 4)),
    "windows of 9 that step by two": PoolProblem(2, 21, 24, 18, 9, 2, (4, 0), 1, True),
    "windows of 7 that step by three": PoolProblem(1, 40, 23, 130, 7, 3, 3),
    "windows in blocks of columns": PoolProblem(1, 4, 700, 129, (3, 70), 1, (1, 30)),
    "a line of windows": PoolProblem(2, 1, 70, 1, (1, 9), 2, (0, 4)),
    "windows of many rows": PoolProblem(1, 25, 6, 6, (25, 2), 1, (12, 1)),
    "windows of many columns": PoolProblem(1, 6, 50, 21, (1, 45), 1, (0, 40)),
    "rows of windows of a column": PoolProblem(1, 40, 5, 5, 5, 1),
    "windows of 4 that share nothing": PoolProblem(2, 17, 18, 22, 4),
    "beyond one byte of taps": PoolProblem(1, 14, 27, 5, (17, 31), 1, (3, 4)),
    "more rows than a step holds": PoolProblem(1, 61, 64, 72, 3, 2, 1),
    "wider than a step": PoolProblem(1, 3, 30000, 3, 2, 1),
    "planes in bands": PoolProblem(2, 150, 131, 9, 3, 2, 1),
    "planes in bands, ceil": PoolProblem(1, 161, 70, 8, (2, 3), (3, 2), (1, 0), 1, True),
    "planes in bands, dilated": PoolProblem(1, 140, 64, 8, 3, (1, 2), (3, 2), (3, 2)),
    "pixels in bands": PoolProblem(2, 190, 67, 3, 3, 1, 1),
    "pixels in bands, stride 3": PoolProblem(1, 301, 101, 2, 3, 3),
    "stride beyond the window": PoolProblem(2, 17, 19, 18, 2, 3),
    "stride and dilation": PoolProblem(2, 17, 19, 18, 3, 2, 2, 3),
    "dilated": PoolProblem(1, 15, 14, 20, 3, 1, 2, 2),
    "very wide": PoolProblem(1, 2, 2001, 3, 2, 1),
    "very tall": PoolProblem(1, 2001, 2, 3, (3, 1), (2, 1), (1, 0)),
    "windows of many taps": PoolProblem(2, 19, 18, 18, 6),
    "windows of many taps, pixels far apart": PoolProblem(1, 13, 14, 520, 6),
    "a window": PoolProblem(2, 5, 7, 35, (5, 7)),
    "a large window": PoolProblem(1, 50, 45, 19, (50, 45)),
    "one pixel": PoolProblem(2, 1, 1, 9, 1),
    "no pixels": PoolProblem(2, 0, 0, 17, 3, 1, 2),
    "no rows": PoolProblem(2, 0, 5, 3, 3, 1, 2),
    "no columns": PoolProblem(2, 5, 0, 3, 3, 1, 2),
}


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_named_layers(isa: str, name: str, layer: str, data_format: str, dtype: str) -> None:
    """Pooling layers of nets, and shapes that blocking makes hard."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    check(name, PoolProblem(**fields))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if LAYERS[layer].pool_size in (3, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_alone(isa: str, name: str, layer: str, data_format: str, dtype: str) -> None:
    """The layers whose winners are told otherwise as long as x has no NaN."""
    fields = {**LAYERS[layer].__dict__, "data_format": data_format, "dtype": dtype}
    check(name, PoolProblem(**fields), numbers_alone)


@pytest.mark.parametrize("name", NAMES)
@given(problem=strategies.pool_problems())
def test_numbers_alone_match_reference(isa: str, name: str, problem: PoolProblem) -> None:
    """Every geometry, of x that has no NaN."""
    check(name, problem, numbers_alone)


@pytest.mark.parametrize("name", NAMES)
@given(problem=strategies.pool_problems())
def test_matches_reference(isa: str, name: str, problem: PoolProblem) -> None:
    """Every geometry, windows wholly in the padding included."""
    check(name, problem)


@pytest.mark.parametrize("name", NAMES)
@given(problem=strategies.pool_problems(largest=17, farthest=1))
def test_large_windows_match_reference(isa: str, name: str, problem: PoolProblem) -> None:
    """Windows that are swept, of one step and more, and their neighbours that are not."""
    check(name, problem)


def numbers_alone(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Draw what is hard to pool but NaN, with which some gradients are found in another way."""
    x = strategies.hard_to_pool(rng, shape, dtype)
    x[np.isnan(x)] = 1
    return x


@functools.lru_cache(maxsize=256)
def expect(
    name: str, problem: PoolProblem, draw: Any = strategies.hard_to_pool
) -> tuple[Array, Array, Array]:
    """Return the reference's values, indices and gradient: they take longer than what is tested."""
    x, dy = problem.draw_arrays(draw)
    y, indices = getattr(reference, f"{name}_with_indices")(x, **problem.geometry)
    return y, indices, reference.scatter(dy, indices, x.shape, problem.data_format)


def check(name: str, problem: PoolProblem, draw: Any = strategies.hard_to_pool) -> None:
    """Compare values, indices and both ways to the gradient, between NaNs and guard bytes."""
    pool, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    x, dy = problem.draw_arrays(draw)
    x, words = guarded_input(x), problem.geometry
    y, indices, dx = expect(name, problem, draw)
    out = GuardedOutput(problem.y_shape, problem.dtype)
    ours, places = pool(x, return_indices=True, out=out.array, **words)
    assert ours is out.array
    assert_same_bits(ours, y.astype(problem.dtype), "y")
    out.assert_intact()
    assert_same_bits(places, indices, "indices")
    assert_same_bits(pool(x, **words), ours, "y without indices")
    np.testing.assert_array_equal(backward(dy, x, **words), dx)
    np.testing.assert_array_equal(backward(dy, x, indices=places, **words), dx)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_every_channel_count_and_width(isa: str, name: str, dtype: str) -> None:
    """Channels and row lengths around the vector widths, in both layouts."""
    for length in strategies.AROUND_VECTORS:
        for data_format in strategies.FORMATS:
            words: dict[str, Any] = {"strides": 1, "padding": 1, "data_format": data_format}
            check(name, PoolProblem(1, 4, 5, length, 3, dtype=dtype, **words))
            check(name, PoolProblem(1, 4, length, 2, 3, dtype=dtype, **words))
            for padding in (0, 1):
                words |= {"strides": 2, "padding": padding}
                for draw in (strategies.hard_to_pool, numbers_alone):
                    check(name, PoolProblem(1, 4, 7, length, 3, dtype=dtype, **words), draw)
                    check(name, PoolProblem(1, 5, length + 2, 3, 3, dtype=dtype, **words), draw)
            alone: dict[str, Any] = {"data_format": data_format, "dtype": dtype}
            check(name, PoolProblem(2, 5, 6, length, 2, 2, **alone))
            check(name, PoolProblem(2, 4, 2 * length + 1, 2, 2, 2, **alone))


# ------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(
    ("window", "first"),
    [
        ([[1, 1], [1, 1]], 0),
        ([[0.0, -0.0], [-0.0, 0.0]], 0),
        ([[-0.0, 0.0], [0.0, 0.0]], 0),
        ([[-1, -0.0], [0.0, -1]], 1),
        ([[-np.inf, -np.inf], [-np.inf, -np.inf]], 0),
        ([[3, np.nan], [np.nan, np.inf]], 1),
        ([[np.inf, 5], [np.inf, np.nan]], 3),
    ],
)
def test_who_wins(isa: str, data_format: str, window: list[list[float]], first: int) -> None:
    """The place that wins a 2x2 maximum, on every lane of several vectors."""
    plane = np.array(window, np.float32)
    x = np.ascontiguousarray(np.broadcast_to(plane[None, :, :, None], (2, 2, 2, 37)))
    if data_format == "channels_first":
        x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    y, indices = functional.max_pool2d(x, data_format=data_format, return_indices=True)
    assert (indices == first).all()
    assert_same_bits(y, np.full(y.shape, plane.ravel()[first]))
    low, low_indices = functional.min_pool2d(-x, data_format=data_format, return_indices=True)
    assert (low_indices == first).all()
    assert_same_bits(low, np.full(low.shape, -plane.ravel()[first]))
    dx = functional.max_pool2d_backward(np.ones_like(y), x, data_format=data_format)
    planes = dx if data_format == "channels_first" else np.moveaxis(dx, -1, 1)
    expected = np.zeros(4)
    expected[first] = 1
    np.testing.assert_array_equal(planes.reshape(-1, 4), np.broadcast_to(expected, (74, 4)))


@pytest.mark.parametrize(("name", "alone"), [("max_pool2d", -np.inf), ("min_pool2d", np.inf)])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_window_of_padding_alone(isa: str, name: str, alone: float, data_format: str) -> None:
    """A dilated window with no tap on the image: infinite, index -1, no gradient."""
    x = np.ones(strategies.in_format((1, 1, 2, 19), data_format), np.float32)
    words: dict[str, Any] = {
        "pool_size": (1, 2),
        "strides": 1,
        "padding": ((0, 0), (2, 2)),
        "dilation_rate": (1, 3),
        "data_format": data_format,
    }
    y, indices = getattr(functional, name)(x, return_indices=True, **words)
    columns = y if data_format == "channels_first" else np.moveaxis(y, -1, 1)
    np.testing.assert_array_equal(columns, np.broadcast_to([1, alone, 1], (1, 19, 1, 3)))
    places = indices if data_format == "channels_first" else np.moveaxis(indices, -1, 1)
    np.testing.assert_array_equal(places, np.broadcast_to([1, -1, 0], (1, 19, 1, 3)))
    backward = getattr(functional, f"{name}_backward")
    for given_indices in (None, indices):
        dx = backward(np.ones_like(y), x, indices=given_indices, **words)
        np.testing.assert_array_equal(dx, np.ones(x.shape))


@pytest.mark.parametrize("name", [*NAMES, "avg_pool2d"])
@pytest.mark.parametrize(
    ("shape", "data_format"),
    [((2, 91, 93, 256), "channels_last"), ((2, 256, 45, 187), "channels_first")],
)
def test_images_larger_than_caches(
    isa: str, name: str, shape: tuple[int, ...], data_format: str
) -> None:
    """Which are asked for before they are read: the bits of images, each of which is not."""
    rng = np.random.default_rng(5)
    x = strategies.hard_to_pool(rng, shape, "float32")
    pool = functools.partial(getattr(functional, name), data_format=data_format)
    y = pool(x)
    assert_same_bits(y, np.concatenate([pool(image[None]) for image in x]))
    if name == "avg_pool2d":
        return
    dy = rng.standard_normal(y.shape).astype(np.float32)
    back = functools.partial(getattr(functional, f"{name}_backward"), data_format=data_format)
    each = [back(dy[n : n + 1], x[n : n + 1]) for n in range(2)]
    assert_same_bits(back(dy, x), np.concatenate(each))


@pytest.mark.parametrize("columns", [128, 130])
@pytest.mark.parametrize("data_format", strategies.FORMATS)
def test_a_gradient_larger_than_caches(isa: str, data_format: str, columns: int) -> None:
    """Which is stored past them has the bits of its images, each of which is not."""
    rng = np.random.default_rng(4)
    words: dict[str, Any] = {"pool_size": 3, "strides": 2, "padding": 1}
    words["data_format"] = data_format
    shape = strategies.in_format((5, 127, columns, 64), data_format)
    x = rng.standard_normal(shape, dtype=np.float32)
    y, indices = functional.max_pool2d(x, return_indices=True, **words)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    for places in (None, indices):
        whole = functional.max_pool2d_backward(dy, x, indices=places, **words)
        for n in range(len(x)):
            some = None if places is None else places[n : n + 1]
            part = functional.max_pool2d_backward(
                dy[n : n + 1], x[n : n + 1], indices=some, **words
            )
            assert_same_bits(whole[n : n + 1], part, "dx")


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 37])
@pytest.mark.parametrize(("strides", "columns"), [(1, 11), (2, 11), (1, 31), (2, 99)])
def test_indices_beyond_their_windows(
    isa: str, strides: int, columns: int, channels: int, data_format: str, dtype: str
) -> None:
    """Any pixel of the plane may be named, and no other, however far away."""
    rng = np.random.default_rng(channels)
    pixels = 9 * columns
    shape = strategies.in_format((2, 9, columns, channels), data_format)
    x = rng.standard_normal(shape).astype(dtype)
    words: dict[str, Any] = {"strides": strides, "padding": 1, "data_format": data_format}
    y, indices = functional.max_pool2d(x, 3, return_indices=True, **words)
    dy = rng.integers(-9, 9, y.shape).astype(dtype)
    for places in (
        rng.integers(-1, pixels, y.shape),
        np.where(rng.random(y.shape) < 0.01, pixels - 1, indices),
    ):
        dx = functional.max_pool2d_backward(dy, x, 3, indices=places, **words)
        np.testing.assert_array_equal(dx, reference.scatter(dy, places, x.shape, data_format))
    for beyond in (pixels, -2, 2**31, 2**32, 2**63 - 1, -(2**63)):
        places = indices.copy()
        places[-1, -1, -1, -1] = beyond
        with pytest.raises(ValueError, match="indices"):
            functional.max_pool2d_backward(dy, x, 3, indices=places, **words)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({}, {"pool_size": (2, 2)}),
        ({}, {"strides": 2}),
        ({"pool_size": (3, 2)}, {"pool_size": (3, 2), "strides": (3, 2)}),
        ({"pool_size": 3, "padding": 1}, {"pool_size": 3, "padding": ((1, 1), (1, 1))}),
        ({"padding": "same"}, {"padding": ((0, 1), (0, 0))}),
        ({"padding": "same_lower"}, {"padding": ((1, 0), (0, 0))}),
        ({"padding": "same"}, {"padding": "same", "ceil_mode": True}),
        ({"strides": None, "padding": "valid"}, {"ceil_mode": False, "dilation_rate": (1, 1)}),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_ways_to_spell_the_same(name: str, short: dict[str, Any], long: dict[str, Any]) -> None:
    """A pooling of a 7x6 image, each argument in two spellings."""
    x, _ = PoolProblem(2, 7, 6, 5).draw_arrays()
    pool = getattr(functional, name)
    assert_same_bits(pool(x, **short), pool(x, **long))


@pytest.mark.parametrize(
    ("n", "k", "s", "p", "floor", "ceil"),
    [
        (5, 2, 2, 0, 2, 3),
        (6, 3, 2, 0, 2, 3),
        (6, 2, 2, 1, 4, 4),
        (5, 3, 2, 1, 3, 3),
        (6, 3, 2, 1, 3, 4),
        (4, 2, 3, 1, 2, 2),  # a third window would begin at the end of the image
        (3, 1, 2, 0, 2, 2),
        (112, 3, 2, 0, 55, 56),
    ],
)
def test_ceil_mode_sizes(n: int, k: int, s: int, p: int, floor: int, ceil: int) -> None:
    """Sizes worked out by hand from the formula, as PyTorch gives them."""
    x = np.zeros((1, n, n, 1), np.float32)
    words: dict[str, Any] = {"strides": s, "padding": p}
    assert functional.max_pool2d(x, k, **words).shape == (1, floor, floor, 1)
    assert functional.max_pool2d(x, k, ceil_mode=True, **words).shape == (1, ceil, ceil, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data_format", strategies.FORMATS)
@pytest.mark.parametrize(("n", "c"), [(0, 3), (2, 0)])
def test_nothing_to_pool(isa: str, name: str, data_format: str, n: int, c: int) -> None:
    """No images, or no channels, give results of the right shape and no values."""
    problem = PoolProblem(n, 6, 5, c, data_format=data_format)
    x, dy = problem.draw_arrays()
    pool, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    y, indices = pool(x, return_indices=True, **problem.geometry)
    assert y.shape == indices.shape == problem.y_shape
    assert indices.dtype == np.int64
    assert backward(dy, x, **problem.geometry).shape == problem.x_shape


@pytest.mark.parametrize("name", NAMES)
def test_gradients_add_up(isa: str, name: str) -> None:
    """Where windows overlap, a value that wins several of them gets the sum."""
    x = np.zeros((1, 5, 5, 21), np.float32)
    x[0, 2, 2] = 1 if name == "max_pool2d" else -1
    dy = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1) * np.ones((1, 1, 1, 21), np.float32)
    dx = getattr(functional, f"{name}_backward")(dy, x, 3, strides=1)
    expected = np.zeros((5, 5))
    expected[2, 2] = 45
    np.testing.assert_array_equal(dx, np.broadcast_to(expected[..., None], (1, 5, 5, 21)))


def test_pooling_never_flushes_denormals(isa: str) -> None:
    """A denormal is a number like others to a comparison."""
    x = np.full((1, 2, 2, 16), -1e-40, np.float32)
    x[0, 1, 0] = 1e-40
    np.testing.assert_array_equal(functional.max_pool2d(x), np.full((1, 1, 1, 16), x[0, 1, 0]))
    dx = functional.max_pool2d_backward(x[:, :1, :1], x)
    np.testing.assert_array_equal(dx[0, 1, 0], x[0, 0, 0])
