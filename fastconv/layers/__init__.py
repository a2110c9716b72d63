"""Layers with Keras's names, arguments, defaults and weight layouts."""

from fastconv.layers._base import Backprop, Layer
from fastconv.layers._step import Step
from fastconv.layers.activation import Activation, Softmax
from fastconv.layers.batch_normalization import BatchNormalization
from fastconv.layers.borders import Cropping2D, ZeroPadding2D
from fastconv.layers.conv import Conv2D
from fastconv.layers.conv_transpose import Conv2DTranspose
from fastconv.layers.dense import Dense
from fastconv.layers.depthwise_conv import DepthwiseConv2D
from fastconv.layers.dropout import Dropout, SpatialDropout2D
from fastconv.layers.global_pooling import GlobalAveragePooling2D, GlobalMaxPooling2D
from fastconv.layers.input import Input
from fastconv.layers.layer_normalization import LayerNormalization
from fastconv.layers.merging import Add, Average, Concatenate, Maximum, Multiply
from fastconv.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    MaxPool2D,
    MaxPooling2D,
    MinPooling2D,
)
from fastconv.layers.prelu import PReLU
from fastconv.layers.rectifiers import ELU, LeakyReLU, ReLU
from fastconv.layers.rescaling import Rescaling
from fastconv.layers.reshaping import Flatten, Reshape
from fastconv.layers.resizing import CenterCrop, Resizing
from fastconv.layers.separable_conv import SeparableConv2D
from fastconv.layers.upsampling import UpSampling2D

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "Backprop",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Input",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "MinPooling2D",
    "Multiply",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv2D",
    "Softmax",
    "SpatialDropout2D",
    "Step",
    "UpSampling2D",
    "ZeroPadding2D",
]
