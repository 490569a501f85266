"""Integers that stand for floats.

Pairs of conversions and what operators on integers were are internal operators by then
(:mod:`converters.onnx_import.quantized_nodes`); what is left is computed in floating point, with the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators that PT2E programs are written in
import torch.nn.functional as nn

from converters.onnx_import.operators import INTERNAL, operator
from converters.onnx_import.operators.convolution import padded, same_padding
from converters.onnx_import.operators.shape import converted
from converters.onnx_import.tensors import dtype_of, typed

_INT8 = (-128, 127, torch.int8)


def _along(parameter: Any, x: Any, axis: int, block: int) -> Any:
    """A scale or zero point, shaped to meet the data: one for all, one per place of an axis, or one per block."""
    if parameter is None or parameter.numel() == 1:
        return parameter if parameter is None else parameter.reshape(())
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


def _limits(dtype: Any) -> tuple[int, int]:
    found = torch.iinfo(dtype)
    return found.min, found.max


@operator("QuantizeLinear")
def quantize(node: Any, x: Any, scale: Any, zero: Any = None) -> Any:
    code = node.get("output_dtype", 0)
    dtype = zero.dtype if zero is not None else dtype_of(code) if code else torch.uint8
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    precision = node.get("precision", 0)
    wide = dtype_of(precision) if precision else torch.float32
    by = _along(scale, x, axis, block)
    value = typed(x, wide) / typed(by, wide)
    if dtype.is_floating_point:
        return converted(value, dtype, bool(node.get("saturate", 1)))
    low, high = _limits(dtype)
    value = torch.round(value)
    if zero is not None:
        value = value + _along(zero, x, axis, block).to(wide)
    return torch.clamp(value, low, high).to(torch.int32).to(dtype)


@operator("DequantizeLinear")
def dequantize(node: Any, x: Any, scale: Any, zero: Any = None) -> Any:
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    code = node.get("output_dtype", 0)
    by = _along(scale, x, axis, block)
    if x.dtype.is_floating_point:
        wide = typed(x, torch.float32) * typed(by, torch.float32)
        return typed(wide, dtype_of(code) if code else scale.dtype)
    value = x.to(torch.int32)
    if zero is not None:
        value = value - _along(zero, x, axis, block).to(torch.int32)
    return typed(value.to(torch.float32) * typed(by, torch.float32), dtype_of(code) if code else scale.dtype)


@operator("Quantize", domain=INTERNAL)
def quantize_pair(node: Any, x: Any) -> Any:
    """The first half of a pair, in int8."""
    call = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return call(x, node.get("scale"), node.get("zero"), *_INT8)


@operator("Dequantize", domain=INTERNAL)
def dequantize_pair(node: Any, x: Any) -> Any:
    """The second half."""
    call = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    return call(x, node.get("scale"), node.get("zero"), *_INT8)


@operator("Saturate", domain=INTERNAL)
def saturate(node: Any, x: Any) -> Any:
    """What a pair does beside rounding."""
    return torch.clamp(x, node.get("low"), node.get("high"))


@operator("Round", domain=INTERNAL)
def round_pair(node: Any, x: Any) -> Any:
    """A pair in floating point: what its integers stand for."""
    scale, zero = torch.tensor(node.get("scale"), dtype=torch.float32), node.get("zero")
    integers = torch.clamp(torch.round(x / scale) + zero, node.get("least"), node.get("most"))
    return (integers - zero) * scale


@operator("RoundDynamic", domain=INTERNAL)
def round_dynamic(node: Any, x: Any) -> Any:
    """``DynamicQuantizeLinear`` and back in floating point, as ONNX defines it."""
    low, high = torch.clamp(x.amin(), max=0.0), torch.clamp(x.amax(), min=0.0)
    scale = (high - low) / 255
    zero = torch.round(torch.clamp(-low / scale, 0, 255))
    integers = torch.clamp(torch.round(x / scale) + zero, 0, 255)
    return (integers - zero) * scale


@operator("QuantizeDynamic", domain=INTERNAL)
def quantize_dynamic(node: Any, x: Any) -> Any:
    """``DynamicQuantizeLinear`` and back, in int8: 256 steps from the least value to the largest, zero included."""
    calls = torch.ops.quantized_decomposed
    scale, zero = calls.choose_qparams.tensor(x, *_INT8[:2], torch.finfo(torch.float32).eps, _INT8[2])
    integers = calls.quantize_per_tensor.tensor(x, scale, zero, *_INT8)
    return calls.dequantize_per_tensor.tensor(integers, scale, zero, *_INT8)


def _shifted(x: Any, zero: Any, axis: int | None = None) -> Any:
    """Integers without their zero point, as int32."""
    value = x.to(torch.int32)
    if zero is None:
        return value
    zero = zero.to(torch.int32)
    if zero.numel() == 1:
        return value - zero.reshape(())
    if axis is not None and zero.dim() == 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        zero = zero.reshape(shape)
    return value - zero


def _requantized(total: Any, scale: Any, zero: Any) -> Any:
    low, high = _limits(zero.dtype)
    value = torch.round(typed(total, torch.float32) * scale) + zero.to(torch.float32)
    return torch.clamp(value, low, high).to(torch.int32).to(zero.dtype)


@operator("MatMulInteger")
def matmul_integer(node: Any, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return torch.matmul(_shifted(a, a_zero, a.dim() - 2), _shifted(b, b_zero, b.dim() - 1))


@operator("QLinearMatMul")
def qlinear_matmul(node: Any, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any,
                   y_scale: Any, y_zero: Any) -> Any:  # fmt: skip
    total = torch.matmul(_shifted(a, a_zero, a.dim() - 2), _shifted(b, b_zero, b.dim() - 1))
    wide = [item.to(torch.float32) for item in (a_scale, b_scale, y_scale)]
    first = wide[0].reshape(*wide[0].shape, 1) if wide[0].dim() == 1 and wide[0].numel() > 1 else wide[0]
    return _requantized(total, first * wide[1] / wide[2], y_zero)


def _conv_integer(node: Any, x: Any, weight: Any, x_zero: Any, w_zero: Any) -> Any:
    """In floating point, where the products and their sums are exact."""
    rank = x.dim() - 2
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    before, behind = same_padding(node, x.shape[2:], weight.shape[2:], strides, dilations)
    dtype = torch.float32 if weight[0].numel() * 2**16 < 2**24 else torch.float64
    data = padded(_shifted(x, x_zero).to(dtype), before, behind)
    filters = _shifted(weight, w_zero, 0).to(dtype)
    convolution = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}[rank]
    return convolution(data, filters, None, strides, 0, dilations, node.get("group", 1))


@operator("ConvInteger")
def conv_integer(node: Any, x: Any, weight: Any, x_zero: Any = None, w_zero: Any = None) -> Any:
    return _conv_integer(node, x, weight, x_zero, w_zero).to(torch.int32)


@operator("QLinearConv")
def qlinear_conv(node: Any, x: Any, x_scale: Any, x_zero: Any, weight: Any, w_scale: Any, w_zero: Any,
                 y_scale: Any, y_zero: Any, bias: Any = None) -> Any:  # fmt: skip
    total = _conv_integer(node, x, weight, x_zero, w_zero)
    channels = [1, -1, *[1] * (x.dim() - 2)]
    if bias is not None:
        total = total + bias.to(total.dtype).reshape(channels)
    scale = x_scale * w_scale / y_scale
    return _requantized(total, scale.reshape(channels) if scale.numel() > 1 else scale.reshape(()), y_zero)
