"""The functions behind the layers: convolution, pooling and dense products of NumPy arrays.

They are compiled, arguments included, and never cast: all arrays of a call are float32 or all are
float64. Layouts are ``data_format="channels_last"`` (n, h, w, c) and ``"channels_first"``
(n, c, h, w); kernels are (kh, kw, c_in // groups, c_out) in both.
"""

from fastconv._fastconv_core import (
    Conv2DGradients,
    PackedKernel,
    activation_backward,
    avg_pool2d,
    avg_pool2d_backward,
    conv2d,
    conv2d_backward,
    conv2d_transpose,
    conv2d_transpose_backward,
    dense,
    dense_backward,
    exp,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
    global_max_pool2d_backward,
    log,
    max_pool2d,
    max_pool2d_backward,
    min_pool2d,
    min_pool2d_backward,
    pack_kernel,
    sigmoid,
    softmax,
    tanh,
)

__all__ = [
    "Conv2DGradients",
    "PackedKernel",
    "activation_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "conv2d",
    "conv2d_backward",
    "conv2d_transpose",
    "conv2d_transpose_backward",
    "dense",
    "dense_backward",
    "exp",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "log",
    "max_pool2d",
    "max_pool2d_backward",
    "min_pool2d",
    "min_pool2d_backward",
    "pack_kernel",
    "sigmoid",
    "softmax",
    "tanh",
]
