"""What is shown while a model works: nothing, a line an epoch, or a bar as well."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from fastconv import _extras

Verbosity = Literal["auto"] | int


def shows_bar(verbose: object) -> bool:
    """Return whether a bar is wanted and there is tqdm to draw it.

    "auto" wants one on a terminal, 1 wherever it goes.

    Raises
    ------
    ValueError
        `verbose` is not "auto", 0, 1 or 2.
    """
    if isinstance(verbose, bool) or verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, received {verbose!r}")
    wanted = verbose == 1 or (verbose == "auto" and sys.stderr.isatty())
    return wanted and importlib.util.find_spec("tqdm") is not None


def bar(total: int, title: str) -> Any:
    """Return tqdm's bar, on standard error, which counts examples and goes when it is done."""
    tqdm = _extras.require("tqdm", "a progress bar")
    return tqdm.tqdm(total=total, desc=title, unit=" images", leave=False, unit_scale=True)


def tracked(batches: Sequence[slice], title: str, verbose: Verbosity) -> Iterator[slice]:
    """Yield the batches, with a bar where it is wanted."""
    if not shows_bar(verbose):
        yield from batches
        return
    with bar(batches[-1].stop if batches else 0, title) as shown:
        for batch in batches:
            yield batch
            shown.update(batch.stop - batch.start)


class Progress:
    """The display of a training run, which is told of each batch and each epoch.

    Its line is ``epoch 1/5  loss 0.4321  accuracy 0.8421  val_loss 0.4000  9876 images/s``, on
    standard output; the rate is that of training, without the validation after it.
    """

    def __init__(self, verbose: Verbosity, epochs: int, examples: int) -> None:
        self._with_bar = shows_bar(verbose)
        self._silent = verbose == 0
        self._epochs = epochs
        self._examples = examples
        self._bar: Any = None

    def begin(self, epoch: int) -> None:
        """Tell of the beginning of an epoch, counted from 0."""
        self._title = f"epoch {epoch + 1}/{self._epochs}"
        self._done = 0
        self._begun = time.perf_counter()
        if self._with_bar:
            self._bar = bar(self._examples, self._title)

    def advance(self, examples: int, values: Mapping[str, float]) -> None:
        """Tell of a batch done, and of the epoch's means so far."""
        self._done += examples
        if self._bar is not None:
            self._bar.set_postfix_str(_words(values, ", "), refresh=False)
            self._bar.update(examples)

    def trained(self) -> None:
        """Tell that the epoch's training is done, and validation begins."""
        self._rate = self._done / max(time.perf_counter() - self._begun, 1e-9)
        self.close()

    def end(self, values: Mapping[str, float]) -> None:
        """Tell of the end of the epoch and its values."""
        if not self._silent:
            print(f"{self._title}  {_words(values, '  ')}  {self._rate:.0f} images/s", flush=True)

    def close(self) -> None:
        """Take the bar away, whatever has happened."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _words(values: Mapping[str, float], between: str) -> str:
    return between.join(f"{name} {value:.4f}" for name, value in values.items())
