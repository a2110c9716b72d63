"""Training that Ctrl-C, NaN or a wrong label ends: whole steps are left."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv.callbacks import Callback, TerminateOnNaN
from fastconv.optimizers import SGD, Adam
from networks import blobs, compiled, small

Array = npt.NDArray[Any]


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, also where a shell started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_ctrl_c_between_steps_leaves_the_last_complete_step() -> None:
    x, y = blobs(40)
    reference, model = compiled(small()), compiled(small())
    seen: list[list[Array]] = []

    class Record(Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            seen.append(self.model.get_weights())

    class Interrupt(Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
            if self.model.optimizer.iterations == 6:
                signal.raise_signal(signal.SIGINT)

    reference.fit(x, y, 8, 2, 0, callbacks=[Record()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, 8, 2, 0, callbacks=[Interrupt()])
    for ours, theirs in zip(model.get_weights(), seen[5], strict=True):
        assert_same_bits(ours, theirs)
    assert model.history is not None
    assert model.history.epoch == [0]
    assert len(model.history.history["loss"]) == 1


@pytest.mark.usefixtures("heeded_interrupts")
def test_ctrl_c_within_a_step_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, optimizer and moving statistics are of one step, whenever the signal comes."""
    x, y = blobs(16)
    reference, model = compiled(small()), compiled(small())
    reference.fit(x, y, 8, verbose=0, shuffle=False)
    step = Adam._step
    calls: list[int] = []

    def interrupted(self: Adam, *arguments: Any) -> Array:
        calls.append(1)
        if len(calls) == 2:  # of two steps, each of four small weights as one
            signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(Adam, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, 8, verbose=0, shuffle=False)
    assert len(calls) == 2
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        assert_same_bits(ours, theirs)
    monkeypatch.undo()
    for trained in (model, reference):
        trained.fit(x, y, 8, verbose=0, shuffle=False)
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        assert_same_bits(ours, theirs)


def test_training_in_another_thread_needs_no_signals() -> None:
    model = compiled(small())
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        history = pool.submit(model.fit, *blobs(16), verbose=0).result()
    assert history.epoch == [0]
    assert signal.getsignal(signal.SIGINT) is before


def test_nan_stops_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs(80)
    model, stop = compiled(small(), SGD(1e30)), TerminateOnNaN()
    with np.errstate(all="ignore"):
        history = model.fit(x, y, 8, 3, 0, callbacks=[stop])
    assert stop.stopped_batch is not None
    assert history.epoch == [0]
    assert not math.isfinite(history.history["loss"][0])
    assert "the loss is" in capsys.readouterr().out
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_wrong_label_in_a_later_batch_leaves_whole_steps() -> None:
    x, y = blobs(16)
    model, reference = compiled(small()), compiled(small())
    with pytest.raises(ValueError, match=r"0\.\.9.*received 10"):
        model.fit(x, [*y[:8], *[10] * 8], 8, verbose=0, shuffle=False)
    reference.fit(x[:8], y[:8], 8, verbose=0, shuffle=False)
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        assert_same_bits(ours, theirs)
