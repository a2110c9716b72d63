"""The callback that writes the history into a table as it comes."""

from __future__ import annotations

import csv
import io
import os

from fastconv import _checks
from fastconv.callbacks._base import Callback, Logs

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write a line for each epoch into a CSV file, under a line of names.

    A line is in the file as soon as its epoch is done.

    Parameters
    ----------
    filename
        The file.
    separator
        One character, between two values; neither a quote nor the end of a line.
    append
        Whether lines are added to a file that is there, whose names must be the same.

    Examples
    --------
    >>> log = CSVLogger("training.csv")
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            raise ValueError(
                "separator must be one character, neither a quote nor the end of a line, received "
                f"{separator!r}"
            )
        self.filename = _checks.path("filename", filename)
        self.separator = separator
        self.append = _checks.flag("append", append)

    def on_train_begin(self, logs: Logs) -> None:
        """Begin the file, or read the names that it has."""
        self._names: list[str] | None = None
        if self.append and self.filename.exists():
            with self.filename.open("r+", newline="", encoding="utf-8") as file:
                text = file.read()
                if text and text[-1] not in "\r\n":  # as an editor may leave it
                    file.write("\r\n")
            lines = io.StringIO(text, newline="")
            self._names = next(csv.reader(lines, delimiter=self.separator), None)
        else:
            self.filename.write_text("", encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        row = {"epoch": epoch, **logs}
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self._names is None:
                self._names = list(row)
                writer.writerow(self._names)
            if set(self._names) != set(row):
                raise ValueError(
                    f"{self.filename} has the columns {', '.join(self._names)}, which are not "
                    f"those of this training, {', '.join(row)}"
                )
            writer.writerow([row[name] for name in self._names])
