"""The programs of `program_fastconv.py` as a PyTorch user writes them, in both memory formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import CHANNELS_LAST, Call, Task
from benchmarks.problems import Problem, WrongAnswer, learnable


def _lenet5() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1600, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def prepare(task: Task, problem: Problem) -> Call:
    """The program that the task names, outside of the engine's inference mode."""
    last = task.data_format == CHANNELS_LAST
    memory = torch.channels_last if last else torch.contiguous_format
    with torch.inference_mode(False):
        x = torch.from_numpy(problem.x.copy()).permute(0, 3, 1, 2).clone(memory_format=memory)
        return Call(_PROGRAMS[task.layer.name](x, memory, problem), lambda _: {})


def _lay_out(module: nn.Sequential, memory: torch.memory_format) -> nn.Sequential:
    """The module with its convolutions' weights in the memory format."""
    for part in module:
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=memory)
    return module


def _train(
    module: nn.Sequential, x: torch.Tensor, memory: torch.memory_format, problem: Problem
) -> Callable[[], Any]:
    """A step on the whole batch, the loss taken from logits."""
    _lay_out(module, memory)
    labels = torch.from_numpy(learnable(problem.x))
    optimizer = torch.optim.Adam(module.parameters())

    def step() -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            optimizer.zero_grad()
            loss = F.cross_entropy(module(x), labels)
            torch.autograd.backward(loss)
            optimizer.step()
        return loss

    before = float(step().detach())
    for _ in range(20):
        after = float(step().detach())
    if not after < before:
        raise WrongAnswer(f"the loss went from {before} to {after}")
    return step


def _predict(x: torch.Tensor, memory: torch.memory_format, _: Problem) -> Callable[[], Any]:
    module = _lay_out(_lenet5().eval(), memory)
    return lambda: F.softmax(module(x), 1)


def _conv(x: torch.Tensor, memory: torch.memory_format, problem: Problem) -> Callable[[], Any]:
    weight = torch.ones(problem.layer.c_out, x.shape[1], 3, 3).contiguous(memory_format=memory)
    return lambda: F.conv2d(x, weight)


_PROGRAMS: dict[str, Callable[..., Callable[[], Any]]] = {
    "train_lenet5": lambda *words: _train(_lenet5(), *words),
    "train_small_cnn": lambda *words: _train(_small_cnn(), *words),
    "predict_lenet5": _predict,
    "tiny_conv_1_4": _conv,
    "tiny_conv_16_16": _conv,
    "tiny_max_pool": lambda x, *_: lambda: F.max_pool2d(x, 2),
}
