"""The pictures: what stands in them, and that they can be written."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest

from fastconv import plots
from fastconv.layers import (
    CenterCrop,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPooling2D,
    ReLU,
    Rescaling,
    SeparableConv2D,
)
from fastconv.models import History, Sequential, lenet5

matplotlib = pytest.importorskip("matplotlib")


def drawn(axes: Any) -> Any:
    """Return the pixels that an image in the axes shows."""
    (image,) = axes.get_images()
    return np.ma.getdata(image.get_array())


def png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def titled(figure: Any) -> dict[str, Any]:
    """Return the axes that have a title, by its first word."""
    found = {axes.get_title("left").split(":")[0]: axes for axes in figure.get_axes()}
    return {title: axes for title, axes in found.items() if title}


def test_history_has_a_panel_for_the_loss_and_one_for_each_metric() -> None:
    record = History()
    for epoch in range(3):
        record.append({"loss": 3.0 - epoch, "accuracy": 0.5, "val_loss": 2.5 - epoch})
    figure = plots.history(record)
    loss, accuracy = figure.get_axes()
    assert [axes.get_title() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    training, validation = loss.get_lines()
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert list(training.get_ydata()) == [3.0, 2.0, 1.0]
    assert list(validation.get_ydata()) == [2.5, 1.5, 0.5]
    assert len(accuracy.get_lines()) == 1
    assert png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.history(History())


def test_history_leaves_out_the_epochs_in_which_a_value_was_not_given() -> None:
    record = History()
    for values in ({"loss": 3.0}, {"loss": 2.0, "rate": 0.5}, {"loss": 1.0, "val_loss": 1.5}):
        record.append(values)
    assert [len(values) for values in record.history.values()] == [3, 3, 3]
    loss, rate = plots.history(record).get_axes()
    assert [str(y) for y in rate.get_lines()[0].get_ydata()] == ["nan", "0.5", "nan"]
    assert [str(y) for y in loss.get_lines()[1].get_ydata()] == ["nan", "nan", "1.5"]


def test_filters_of_one_channel() -> None:
    layer = Conv2D(6, 5, input_shape=(28, 28, 1))
    layer.build((None, 28, 28, 1))
    figure = plots.filters(layer)
    axes = titled(figure)["conv2d"]
    assert axes.get_title("left") == "conv2d: 6 filters of 5x5x1"
    pixels, zoom, gap = drawn(axes), 6, 2
    assert pixels.shape == (30, 6 * (30 + gap) - gap)
    for index in range(6):
        tile = pixels[::zoom, index * (30 + gap) :][:, : 5 * zoom : zoom]
        np.testing.assert_array_equal(tile, layer.kernel[:, :, 0, index])
    assert np.isnan(pixels[:, 30:32]).all()
    limit = np.abs(layer.kernel).max()
    assert axes.get_images()[0].get_clim() == pytest.approx((-limit, limit))
    assert png(figure).startswith(b"\x89PNG")


def test_filters_of_three_channels_are_colours() -> None:
    layer = Conv2D(10, 7)
    layer.build((None, 28, 28, 3))
    pixels = drawn(titled(plots.filters(layer))["conv2d"])
    assert pixels.shape == (2 * 30 - 2, 8 * 30 - 2, 3)
    scaled = 0.5 + layer.kernel[:, :, :, 9] / (2 * np.abs(layer.kernel).max())
    np.testing.assert_allclose(pixels[30::4, 30:58:4], scaled)


def test_filters_of_many_channels_have_a_row_for_each() -> None:
    layer = Conv2D(70, 3)
    layer.build((None, 9, 9, 12))
    axes = titled(plots.filters(layer))["conv2d"]
    assert axes.get_title("left") == "conv2d: 64 of 70 filters of 3x3x12, the first 8 channels"
    np.testing.assert_array_equal(drawn(axes)[32:62:10, 64:94:10], layer.kernel[:, :, 1, 2])


def test_what_has_no_filters() -> None:
    pool, dense = MaxPooling2D(), Dense(2)
    dense.build((None, 3))
    for layer in (pool, dense):
        with pytest.raises(ValueError, match=f"received '{layer.name}', a {type(layer).__name__}"):
            plots.filters(layer)
    with pytest.raises(ValueError, match="not built yet"):
        plots.filters(Conv2D(2, 3))


def test_feature_maps_of_every_layer() -> None:
    model = lenet5(seed=0)
    image = np.random.default_rng(0).random((28, 28, 1))
    figure = plots.feature_maps(model, image)
    found = titled(figure)
    names = ["image", "conv2d_1", "max_pooling2d_1", "conv2d_2", "max_pooling2d_2"]
    assert list(found) == names
    np.testing.assert_array_equal(drawn(found["image"]), image[:, :, 0])
    assert found["conv2d_2"].get_title("left") == "conv2d_2: 16 maps of 10x10"
    first = model.layers[0](image[None])
    np.testing.assert_array_equal(drawn(found["conv2d_1"])[:28, 30:58], first[0, :, :, 1])
    assert png(figure).startswith(b"\x89PNG")


def test_feature_maps_of_one_layer_in_channels_first() -> None:
    model = Sequential(
        [Conv2D(9, 3, data_format="channels_first", input_shape=(3, 12, 12)), Flatten()], seed=0
    )
    image = np.random.default_rng(0).random((3, 12, 12))
    found = titled(plots.feature_maps(model, image, "conv2d_1"))
    assert list(found) == ["image", "conv2d_1"]
    np.testing.assert_array_equal(drawn(found["image"]), image.transpose(1, 2, 0))
    maps = model.layers[0](image[None])[0]
    np.testing.assert_array_equal(drawn(found["conv2d_1"])[32::3, :30:3], maps[8])
    with pytest.raises(ValueError, match="layer must be one of conv2d_1"):
        plots.feature_maps(model, image, "conv")


def test_numbers_of_a_layer_that_makes_no_image() -> None:
    model = lenet5(seed=0)
    image = np.random.default_rng(0).random((28, 28, 1))
    axes = titled(plots.feature_maps(model, image, "dense_3"))["dense_3"]
    assert axes.get_title("left") == "dense_3: 10 numbers"
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, model(image[None])[0])
    flat = Sequential([Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError, match="no layer to show"):
        plots.feature_maps(flat, [1.0, 2.0, 3.0])


def test_inputs_of_every_kind_stand_beside_the_maps() -> None:
    rng = np.random.default_rng(0)
    six, row = rng.random((30, 8, 6)), rng.random((1, 28, 1))
    for image, shown in ((six, six[..., 5]), (row, row[..., 0])):
        model = Sequential([Conv2D(2, 1, input_shape=image.shape)], seed=0)
        axes = titled(plots.feature_maps(model, image))["image"]
        np.testing.assert_array_equal(drawn(axes)[-len(image) :], shown)
    numbers = rng.random(5)
    flat = Sequential([Dense(2, input_shape=(5,))], seed=0)
    axes = titled(plots.feature_maps(flat, numbers, "dense_1"))["input"]
    np.testing.assert_array_equal([bar.get_height() for bar in axes.patches], numbers)


def test_layers_without_a_layout_have_that_of_their_neighbours() -> None:
    convolution = Conv2D(2, 1, data_format="channels_first")
    model = Sequential([Rescaling(2.0, input_shape=(1, 40, 30)), convolution, ReLU()], seed=0)
    image = np.random.default_rng(0).random((1, 40, 30)).astype(np.float32)
    found = titled(plots.feature_maps(model, image))
    assert list(found) == ["image", "rescaling_1", "conv2d_1", "relu_1"]
    np.testing.assert_array_equal(drawn(found["image"]), image[0])
    np.testing.assert_array_equal(drawn(found["rescaling_1"])[:, :30], 2 * image[0])
    np.testing.assert_array_equal(drawn(found["relu_1"])[:, :30], model(image[None])[0, 0])


def test_maps_of_a_wide_photograph_keep_their_proportions() -> None:
    layers = [CenterCrop(30, 60, input_shape=(None, None, 3)), Conv2D(3, 3), DepthwiseConv2D(3)]
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    found = titled(plots.feature_maps(Sequential(layers, seed=0), image))
    assert list(found) == ["image", "center_crop_1", "conv2d_1", "depthwise_conv2d_1"]
    np.testing.assert_array_equal(drawn(found["image"]), image)
    assert found["conv2d_1"].get_title("left") == "conv2d_1: 3 maps of 28x58"
    figure = plots.feature_maps(Sequential(layers[:1], seed=0), image, "center_crop_1")
    assert figure.get_figheight() < 2


def test_filters_of_depthwise_and_separable_layers() -> None:
    for layer in (DepthwiseConv2D(3), SeparableConv2D(4, 3)):
        layer.build((None, 9, 9, 1))
        title = titled(plots.filters(layer))[layer.name].get_title("left")
        assert title == f"{layer.name}: 1 filters of 3x3x1"


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    record = History()
    record.append({"loss": 1.0})
    with pytest.raises(ImportError, match=r"needs matplotlib.*pip install 'fastconv\[demo\]'"):
        plots.history(record)
