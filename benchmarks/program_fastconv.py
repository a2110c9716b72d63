"""Whole programs on fastconv's layers: training steps, a prediction, the smallest calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Call, Task
from benchmarks.problems import Problem, WrongAnswer, learnable
from fastconv import functional as F
from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Sequential, lenet5


def small_cnn() -> Sequential:
    """The usual first network for 28x28 images: two convolutions, two poolings, 100 units."""
    return Sequential(
        [
            Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            MaxPooling2D(2),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(100, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        seed=0,
    )


def prepare(task: Task, problem: Problem) -> Call:
    """The program that the task names, once seen to work."""
    return Call(_PROGRAMS[task.layer.name](problem), lambda _: {})


def _train(model: Sequential, problem: Problem) -> Callable[[], Any]:
    """A step on the whole batch; the labels can be learnt, since the images say them."""
    x, labels = problem.x, learnable(problem.x)
    model.compile("adam", "sparse_categorical_crossentropy")

    def step() -> Any:
        return model.train_on_batch(x, labels)

    (before,) = step()
    for _ in range(20):
        (after,) = step()
    if not after < before:
        raise WrongAnswer(f"the loss went from {before} to {after}")
    return step


def _predict(problem: Problem) -> Callable[[], Any]:
    model, x = lenet5(seed=0), problem.x
    if not abs(float(model.predict(x, verbose=0).sum()) - len(x)) < 1e-5:
        raise WrongAnswer("the probabilities do not add up to 1")
    return lambda: model.predict(x, verbose=0)


def _conv(problem: Problem) -> Callable[[], Any]:
    x = np.ones_like(problem.x)
    kernel = np.ones((3, 3, x.shape[3], problem.layer.c_out), x.dtype)
    if not np.allclose(F.conv2d(x, kernel), 9 * x.shape[3], rtol=2e-6):
        raise WrongAnswer("a sum of ones is not their number")
    return lambda: F.conv2d(x, kernel)


def _pool(problem: Problem) -> Callable[[], Any]:
    x = np.arange(problem.x.size, dtype=problem.x.dtype).reshape(problem.x.shape)
    if not np.array_equal(F.max_pool2d(x), x[:, 1::2, 1::2]):
        raise WrongAnswer("the greatest of four is not the last")
    return lambda: F.max_pool2d(x)


_PROGRAMS: dict[str, Callable[[Problem], Callable[[], Any]]] = {
    "train_lenet5": lambda problem: _train(lenet5(seed=0), problem),
    "train_small_cnn": lambda problem: _train(small_cnn(), problem),
    "predict_lenet5": _predict,
    "tiny_conv_1_4": _conv,
    "tiny_conv_16_16": _conv,
    "tiny_max_pool": _pool,
}
