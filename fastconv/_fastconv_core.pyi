from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, TypedDict, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)
_Pair: TypeAlias = int | Sequence[int]
_Padding: TypeAlias = (
    Literal["valid", "same", "same_lower"] | int | Sequence[int] | Sequence[Sequence[int]]
)
_DataFormat: TypeAlias = Literal["channels_last", "channels_first"]
_PaddingMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap"]
_Activation: TypeAlias = Literal["relu", "relu6"] | None
_Algorithm: TypeAlias = Literal["auto", "direct", "winograd"]
_Needs: TypeAlias = Collection[str]

__version__: str

class Conv2DGradients(NamedTuple):
    dx: NDArray[Any] | None
    dkernel: NDArray[Any] | None
    dbias: NDArray[Any] | None

class PackedKernel:
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    input_size: tuple[int, int]
    def __init__(self) -> NoReturn: ...

class _BuildInfo(TypedDict):
    version: str
    isa: str
    isas: tuple[str, ...]
    threads: int
    compiler: str

def conv2d(
    x: NDArray[_Real],
    kernel: NDArray[_Real] | PackedKernel,
    bias: NDArray[_Real] | None = None,
    *,
    strides: _Pair = 1,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    groups: int = 1,
    data_format: _DataFormat = "channels_last",
    padding_mode: _PaddingMode = "constant",
    padding_value: float = 0.0,
    activation: _Activation = None,
    residual: NDArray[_Real] | None = None,
    algorithm: _Algorithm = "auto",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    kernel: NDArray[_Real],
    *,
    strides: _Pair = 1,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    groups: int = 1,
    data_format: _DataFormat = "channels_last",
    padding_mode: _PaddingMode = "constant",
    padding_value: float = 0.0,
    algorithm: _Algorithm = "auto",
    needs: _Needs = ("x", "kernel", "bias"),
) -> Conv2DGradients: ...
def conv2d_transpose(
    x: NDArray[_Real],
    kernel: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    *,
    strides: _Pair = 1,
    padding: _Padding = "valid",
    output_padding: _Pair | None = None,
    dilation_rate: _Pair = 1,
    groups: int = 1,
    data_format: _DataFormat = "channels_last",
    algorithm: _Algorithm = "auto",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def conv2d_transpose_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    kernel: NDArray[_Real],
    *,
    strides: _Pair = 1,
    padding: _Padding = "valid",
    output_padding: _Pair | None = None,
    dilation_rate: _Pair = 1,
    groups: int = 1,
    data_format: _DataFormat = "channels_last",
    algorithm: _Algorithm = "auto",
    needs: _Needs = ("x", "kernel", "bias"),
) -> Conv2DGradients: ...
def pack_kernel(
    kernel: NDArray[_Real],
    input_size: _Pair,
    *,
    strides: _Pair = 1,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    groups: int = 1,
    data_format: _DataFormat = "channels_last",
    padding_mode: _PaddingMode = "constant",
    padding_value: float = 0.0,
    algorithm: _Algorithm = "auto",
) -> PackedKernel: ...
def dense(
    x: NDArray[_Real],
    kernel: NDArray[_Real],
    bias: NDArray[_Real] | None = None,
    *,
    activation: _Activation = None,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def dense_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    kernel: NDArray[_Real],
    *,
    needs: _Needs = ("x", "kernel", "bias"),
) -> Conv2DGradients: ...
@overload
def max_pool2d(
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def max_pool2d(
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def max_pool2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    indices: NDArray[np.int64] | None = None,
) -> NDArray[_Real]: ...
@overload
def min_pool2d(
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[False] = False,
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
@overload
def min_pool2d(
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[True],
    out: NDArray[_Real] | None = None,
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def marked_max_pool2d(
    x: NDArray[Any],
    pool_size: _Pair,
    *,
    strides: _Pair,
    padding: Any,
    data_format: _DataFormat,
) -> tuple[NDArray[Any], NDArray[Any]] | None: ...
def marked_max_pool2d_backward(
    dy: NDArray[Any],
    marks: NDArray[Any],
    shape: Sequence[int],
    activation: _Activation,
    pool_size: _Pair,
    *,
    strides: _Pair,
    padding: Any,
    data_format: _DataFormat,
) -> NDArray[Any]: ...
def pooled_conv2d(
    x: NDArray[Any],
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    activation: _Activation,
    words: dict[str, Any],
    pool_words: dict[str, Any],
) -> tuple[NDArray[Any], NDArray[Any], tuple[int, ...]] | None: ...
def pooled_conv2d_backward(
    dy: NDArray[Any],
    marks: NDArray[Any],
    x: NDArray[Any],
    kernel: NDArray[Any],
    activation: _Activation,
    needs: Collection[str],
    words: dict[str, Any],
) -> Conv2DGradients | None: ...
def min_pool2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    data_format: _DataFormat = "channels_last",
    indices: NDArray[np.int64] | None = None,
) -> NDArray[_Real]: ...
def avg_pool2d(
    x: NDArray[_Real],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: _DataFormat = "channels_last",
    out: NDArray[_Real] | None = None,
) -> NDArray[_Real]: ...
def avg_pool2d_backward(
    dy: NDArray[_Real],
    input_shape: Sequence[int],
    pool_size: _Pair = 2,
    *,
    strides: _Pair | None = None,
    padding: _Padding = "valid",
    dilation_rate: _Pair = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    data_format: _DataFormat = "channels_last",
) -> NDArray[_Real]: ...
@overload
def global_max_pool2d(
    x: NDArray[_Real],
    *,
    keepdims: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[False] = False,
) -> NDArray[_Real]: ...
@overload
def global_max_pool2d(
    x: NDArray[_Real],
    *,
    keepdims: bool = False,
    data_format: _DataFormat = "channels_last",
    return_indices: Literal[True],
) -> tuple[NDArray[_Real], NDArray[np.int64]]: ...
def global_max_pool2d_backward(
    dy: NDArray[_Real],
    x: NDArray[_Real],
    *,
    keepdims: bool = False,
    data_format: _DataFormat = "channels_last",
    indices: NDArray[np.int64] | None = None,
) -> NDArray[_Real]: ...
def global_avg_pool2d(
    x: NDArray[_Real], *, keepdims: bool = False, data_format: _DataFormat = "channels_last"
) -> NDArray[_Real]: ...
def global_avg_pool2d_backward(
    dy: NDArray[_Real],
    input_shape: Sequence[int],
    *,
    keepdims: bool = False,
    data_format: _DataFormat = "channels_last",
) -> NDArray[_Real]: ...
def exp(x: NDArray[_Real]) -> NDArray[_Real]: ...
def log(x: NDArray[_Real]) -> NDArray[_Real]: ...
def tanh(x: NDArray[_Real]) -> NDArray[_Real]: ...
def sigmoid(x: NDArray[_Real]) -> NDArray[_Real]: ...
def softmax(x: NDArray[_Real]) -> NDArray[_Real]: ...
def activation_backward(
    dy: NDArray[_Real], y: NDArray[_Real], activation: _Activation
) -> NDArray[_Real]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def threads(n: int) -> AbstractContextManager[None]: ...
def get_flush_denormals() -> bool: ...
def set_flush_denormals(flush: bool) -> None: ...
def flushed_denormals() -> AbstractContextManager[None]: ...
def get_output_pool() -> int: ...
def set_output_pool(size: int) -> None: ...
def output_pool_held() -> int: ...
def available_isas() -> tuple[str, ...]: ...
def forced_isa(name: str) -> AbstractContextManager[None]: ...
def forced_worker_share(work: int) -> AbstractContextManager[None]: ...
def fma_peak(
    seconds: float, dtype: Literal["float32", "float64"] = "float32", threads: int = 1
) -> float: ...
def build_info() -> _BuildInfo: ...
