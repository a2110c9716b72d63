"""The callbacks, with Keras's names: what follows a training run, steers it or ends it."""

from fastconv.callbacks._base import Callback
from fastconv.callbacks.checkpoint import ModelCheckpoint
from fastconv.callbacks.csv_logger import CSVLogger
from fastconv.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from fastconv.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
