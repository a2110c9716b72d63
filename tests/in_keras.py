"""Keras, where it is installed, on PyTorch: the same layer there, with its gradients."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest

import pytorch
from fastconv.layers import Layer

Array = npt.NDArray[Any]
TOLERANCES = {"float32": 5e-5, "float64": 1e-12}


def keras() -> Any:
    """Return the module, or skip the test."""
    pytorch.torch()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    found = pytest.importorskip("keras")
    if found.backend.backend() != "torch":
        pytest.skip("keras runs on another backend than torch")
    return found


def forward_and_gradients(
    layer: Any, x: Array | list[Array], dy: Array | None, training: bool
) -> tuple[Array, list[Array], list[Array]]:
    """Return y, the dx (a list) and the gradients of the trainable weights of a Keras layer."""
    torch = pytorch.torch()
    parts = x if isinstance(x, list) else [x]
    tensors = [torch.tensor(np.ascontiguousarray(part), requires_grad=True) for part in parts]
    y = layer(tensors if isinstance(x, list) else tensors[0], training=training)
    for weight in layer.trainable_weights:
        weight.value.grad = None
    if dy is not None:
        _backward(y, torch.tensor(np.ascontiguousarray(dy)))
    gradients = [weight.value.grad for weight in layer.trainable_weights]
    return (
        y.detach().numpy(),
        [tensor.grad.numpy() for tensor in tensors] if dy is not None else [],
        [gradient.numpy() for gradient in gradients] if dy is not None else [],
    )


def _backward(y: Any, dy: Any) -> None:
    """Take the gradients, or have hypothesis look for another example.

    PyTorch's float64 convolution cannot give the gradient of some kernels that Keras transposes.
    """
    try:
        y.backward(dy)
    except RuntimeError as error:
        if "contiguous" not in str(error):
            raise
        hypothesis.reject()


def assert_same_layer(
    ours: Layer,
    theirs: Any,
    x: Array | list[Array],
    rng: np.random.Generator,
    training: bool = True,
    magnitude: float = 1.0,
) -> None:
    """Assert that two layers agree: in y, in all gradients, and with weights handed both ways."""
    dtype = ours.dtype
    parts = [part.astype(dtype) for part in (x if isinstance(x, list) else [x])]
    given: Any = parts if isinstance(x, list) else parts[0]
    forward_and_gradients(theirs, given, None, False)  # builds it
    ours(given)
    weights = [0.5 + 0.25 * rng.random(weight.shape).astype(dtype) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(ours.get_weights())
    y, backprop = ours.forward(given, training=training)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx, grads = backprop(dy)
    y_k, dx_k, grads_k = forward_and_gradients(theirs, given, dy, training)
    assert ours.compute_output_shape(_shape(given)) == y.shape
    _assert_all_close([y, *(dx if isinstance(dx, list) else [dx]), *grads],
                      [y_k, *dx_k, *grads_k], magnitude)  # fmt: skip

    back = [rng.standard_normal(weight.shape).astype(dtype) ** 2 for weight in weights]
    theirs.set_weights(back)
    ours.set_weights(theirs.get_weights())
    y_k, _, _ = forward_and_gradients(theirs, given, None, False)
    _assert_all_close([ours(given)], [y_k], magnitude)


def _shape(x: Array | list[Array]) -> Any:
    return [part.shape for part in x] if isinstance(x, list) else x.shape


def _assert_all_close(ours: list[Any], theirs: list[Array], magnitude: float) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        scale = magnitude * max(1.0, float(np.abs(other).max(initial=0.0)))
        tolerance = TOLERANCES[mine.dtype.name] * scale
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)
