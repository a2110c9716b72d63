"""Models: layers put together, trained and used."""

from fastconv.models._history import History
from fastconv.models.lenet import lenet5
from fastconv.models.model import Model
from fastconv.models.saving import load_model
from fastconv.models.sequential import Sequential

__all__ = ["History", "Model", "Sequential", "lenet5", "load_model"]
