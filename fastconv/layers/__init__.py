"""Layers with Keras's names, arguments, defaults and weight layouts."""

from fastconv.layers._base import Backprop, Layer
from fastconv.layers.activation import Activation, Softmax
from fastconv.layers.conv import Conv2D
from fastconv.layers.dense import Dense
from fastconv.layers.pooling import AveragePooling2D, MaxPooling2D, MinPooling2D
from fastconv.layers.reshaping import Flatten

__all__ = [
    "Activation",
    "AveragePooling2D",
    "Backprop",
    "Conv2D",
    "Dense",
    "Flatten",
    "Layer",
    "MaxPooling2D",
    "MinPooling2D",
    "Softmax",
]
