"""Tensors of ONNX as tensors of torch."""

from __future__ import annotations

from typing import Any

from converters.onnx.loading import Stretch, mapped
from converters.onnx.stored import check_size, shown
from edgekit.errors import ConversionError, UnsupportedError

_BY_NAME = {
    "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "BOOL": "bool",
    "COMPLEX64": "complex64", "COMPLEX128": "complex128",
    "FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E4M3FNUZ": "float8_e4m3fnuz", "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz", "FLOAT8E8M0": "float8_e8m0fnu",
}  # fmt: skip
_HIGHEST_RANK = 64
"""Of NumPy's arrays."""
_SEEN_AS_BITS = {"bfloat16": "int16", "float8_e4m3fn": "uint8", "float8_e4m3fnuz": "uint8", "float8_e5m2": "uint8",
                 "float8_e5m2fnuz": "uint8", "float8_e8m0fnu": "uint8"}  # fmt: skip


def dtype_of(code: int) -> Any:
    """The ``torch.dtype`` of a ``TensorProto.DataType``.

    Raises:
        UnsupportedError: torch has none, as for strings.
    """
    import onnx
    import torch

    known = code in onnx.TensorProto.DataType.values()
    name = onnx.TensorProto.DataType.Name(code) if known else f"type {code}, which onnx {onnx.__version__} knows not"
    if name not in _BY_NAME:
        raise UnsupportedError(f"ONNX tensors of {name} have no counterpart in torch.")
    return getattr(torch, _BY_NAME[name])


def code_of(dtype: Any) -> int:
    """The ``TensorProto.DataType`` of a ``torch.dtype``."""
    import onnx

    wanted = str(dtype).removeprefix("torch.")
    return int(next(onnx.TensorProto.DataType.Value(name) for name, own in _BY_NAME.items() if own == wanted))


def from_proto(proto: Any) -> Any:
    """The content of a ``TensorProto``, whose external data is loaded.

    Raises:
        UnsupportedError: torch has no such type.
        ConversionError: Its values are not as many as its shape says, or in another file.
    """
    import onnx
    import torch

    dtype = dtype_of(proto.data_type)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        raise ConversionError(f"The values of {shown(proto.name)} are in another file, which was not read.")
    check_size(proto, "The ONNX model")
    if len(proto.dims) > _HIGHEST_RANK:
        raise UnsupportedError(f"ONNX tensors of {len(proto.dims)} dimensions have no counterpart in torch.")
    values = from_array(onnx.numpy_helper.to_array(proto), str(dtype).removeprefix("torch."))
    return values.reshape(torch.Size(proto.dims))


def from_stretch(proto: Any, stretch: Stretch) -> Any:
    """The content of a ``TensorProto`` that is kept apart: pages of its file, which memory need not hold.

    Raises:
        UnsupportedError: torch has no such type.
    """
    import sys

    import numpy as np
    import torch

    dtype = dtype_of(proto.data_type)
    content = mapped(stretch)
    if content.ctypes.data % 64 or sys.byteorder == "big":  # kernels count on aligned numbers; files are little endian
        content = np.array(content)
        if sys.byteorder == "big":
            content = content.reshape(-1, dtype.itemsize)[:, ::-1].reshape(-1)
    return torch.from_numpy(content).view(dtype).reshape(torch.Size(proto.dims))


def from_array(array: Any, name: str | None = None) -> Any:
    """A NumPy array, also of the types that ``ml_dtypes`` adds, as a tensor with memory of its own."""
    import numpy as np
    import torch

    name = name or array.dtype.name
    copied = np.array(array, order="C")
    if name in _SEEN_AS_BITS:
        return torch.from_numpy(copied.view(_SEEN_AS_BITS[name])).view(getattr(torch, name))
    return torch.from_numpy(copied)


def to_array(tensor: Any) -> Any:
    """A constant as NumPy sees it; small floats as float32, which holds all of them."""
    import torch

    small = tensor.dtype.is_floating_point and tensor.dtype not in (torch.float16, torch.float32, torch.float64)
    return (tensor.float() if small else tensor).detach().numpy()


def typed(x: Any, dtype: Any) -> Any:
    """A tensor in a type; itself where it is in it, so that no operator is traced for nothing."""
    return x if x.dtype == dtype else x.to(dtype)
