"""A whole training run: the same bits on any threads and CPU, and PyTorch's losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import pytorch
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv.models import Sequential, lenet5
from fastconv.optimizers import Adam

Array = npt.NDArray[Any]
STEPS = 50


def images(count: int) -> tuple[Array, Array]:
    """Draw images of 28x28 that show their class by where they are bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, count)
    x = rng.random((count, 28, 28, 1), np.float32)
    for image, label in zip(x, y, strict=True):
        image[2 * label : 2 * label + 8, 8:20] += 1
    return x, y


def trained(optimizer: Any) -> tuple[list[float], Sequential]:
    """Train LeNet-5 for 50 steps of 32 images, and return the loss of each."""
    x, y = images(160)
    model = lenet5(seed=0)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=STEPS // 5, verbose=0, validation_data=(x[:20], y[:20]))
    assert model.optimizer.iterations == STEPS
    return history.history["loss"] + history.history["val_loss"], model


def test_lenet5_has_the_same_bits_everywhere() -> None:
    fused = [isa for isa in _core.available_isas() if isa != "generic"] or ["generic"]
    runs = []
    for isa, threads in [(fused[-1], 1), (fused[-1], 2), (fused[-1], 3), (fused[0], 2)]:
        with _core.forced_isa(isa), fastconv.threads(threads):
            runs.append(trained(Adam(weight_decay=0.01, global_clipnorm=1.0)))
    (losses, model), *others = runs
    assert losses[9] < 0.5 * losses[0]
    for other_losses, other in others:
        assert other_losses == losses
        for name, weight in other.named_weights.items():
            assert_same_bits(weight, model.named_weights[name], name)


@pytest.mark.parametrize(("steps", "tolerance"), [(8, 2e-5), (20, 2e-3)])
def test_lenet5_follows_torch(steps: int, tolerance: float) -> None:
    """Rounding is all that parts them; it grows with the steps, as the bounds do."""
    torch = pytorch.torch()
    f = torch.nn.functional
    x, y = images(32)
    model = lenet5(seed=0)
    weights = [torch.tensor(w) for w in model.get_weights()]
    for index in (0, 2):
        weights[index] = weights[index].permute(3, 2, 0, 1).contiguous()
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, 1e-3, eps=1e-12)
    expected = []
    for _ in range(steps):
        z = f.conv2d(torch.tensor(x).permute(0, 3, 1, 2), weights[0], weights[1], padding=2)
        z = f.conv2d(f.max_pool2d(z.relu(), 2), weights[2], weights[3])
        z = f.max_pool2d(z.relu(), 2).permute(0, 2, 3, 1).flatten(1)
        z = (z @ weights[4] + weights[5]).relu()
        z = (z @ weights[6] + weights[7]).relu()
        loss = f.cross_entropy(z @ weights[8] + weights[9], torch.tensor(y))
        expected.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.compile(Adam(1e-3, epsilon=1e-12), "sparse_categorical_crossentropy")
    found = model.fit(x, y, epochs=steps, shuffle=False, verbose=0).history["loss"]
    assert found == pytest.approx(expected, rel=tolerance)
    assert expected[-1] < expected[0]
