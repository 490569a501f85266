"""Matrix products with packed or quantized weights (``com.microsoft``): the weights are unpacked once, at import."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import MICROSOFT, RefusalError, operator
from converters.onnx_import.tensors import to_array


def _unpacked(packed: Any, bits: int) -> Any:
    """Unsigned integers of ``bits`` bits from the bytes of the last axis, the lowest bits first."""
    if bits == 8:
        return packed
    single = np.unpackbits(packed, axis=-1, bitorder="little")
    count = single.shape[-1] // bits
    weights = (1 << np.arange(bits)).astype(np.uint8)
    return (single[..., : count * bits].reshape(*single.shape[:-1], count, bits) * weights).sum(-1, dtype=np.uint8)


def dequantized(node: Any, packed: Any, scales: Any, zeros: Any = None, groups: Any = None) -> Any:
    """The weight of ``MatMulNBits`` as a linear layer has it.

    Args:
        node: With ``bits``, ``block_size``, ``N`` (outputs) and ``K`` (inputs).
        packed: uint8, ``(N, blocks, block_size * bits / 8)``.
        scales: Floats, ``(N, blocks)``, maybe flat.
        zeros: Packed as the weights, ``(N, ceil(blocks * bits / 8))``; or of the scales' type and shape; or ``None``
            for the middle of the range.
        groups: Block of each input, where the inputs are in another order; ``(K,)``.

    Returns:
        Of the scales' type, ``(N, K)``.
    """
    bits, block, outputs, inputs = (node.get(name) for name in ("bits", "block_size", "N", "K"))
    bits = 4 if bits is None else bits
    if node.get("weight_prepacked", 0):
        raise RefusalError("with weights in a layout of CUDA's")
    blocks = -(-inputs // block)
    if packed.size != outputs * blocks * block * bits // 8:
        raise RefusalError(f"its weights have {packed.size} bytes, not {outputs * blocks * block * bits // 8}")
    values = _unpacked(packed.reshape(outputs, blocks, -1), bits).reshape(outputs, -1)[:, :inputs]
    of_block = np.arange(inputs) // block if groups is None else groups[:inputs]
    if zeros is None:
        middle = np.full((outputs, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        middle = _unpacked(zeros.reshape(outputs, -1), bits)[:, :blocks].astype(np.float32)
    else:
        middle = zeros.reshape(outputs, blocks).astype(np.float32)
    by = scales.reshape(outputs, blocks).astype(np.float32)
    return ((values.astype(np.float32) - middle[:, of_block]) * by[:, of_block]).astype(scales.dtype)


def _as_linear(node: Any, operands: Sequence[Any]) -> Any:
    """With constant weights it is a linear layer."""
    x, packed, scales, zeros, groups, bias = [*operands, None, None, None][:6]
    stored = [packed, scales, zeros, groups]
    if any(value is not None and not value.constant for value in stored):
        return None
    weight = copy.copy(packed)
    arrays = [None if value is None else to_array(value.tensor) for value in stored]
    weight.tensor = torch.from_numpy(dequantized(node, *arrays))
    return "Linear", [x, weight, bias]


@operator("MatMulNBits", domain=MICROSOFT, static=(1, 2, 3, 4), rewrite=_as_linear)
def matmul_n_bits(node: Any, x: Any, packed: Any, scales: Any, zeros: Any = None, groups: Any = None,
                  bias: Any = None) -> Any:  # fmt: skip
    return nn.linear(x, torch.from_numpy(dequantized(node, packed, scales, zeros, groups)), bias)


def _real(x: Any, scale: Any, zero: Any) -> Any:
    """Integers as the numbers they stand for."""
    value = x.to(torch.float32)
    return (value if zero is None else value - zero.to(torch.float32)) * scale


def _rounded(x: Any) -> Any:
    """Data as it is after ``DynamicQuantizeLinear`` to uint8 and back: in 256 steps from its least to its largest."""
    low, high = torch.clamp(torch.amin(x), max=0.0), torch.clamp(torch.amax(x), min=0.0)
    scale = (high - low) / 255.0
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(torch.round(-low / scale), 0.0, 255.0)
    return (torch.clamp(torch.round(x / scale) + zero, 0.0, 255.0) - zero) * scale


def _product(a: Any, b: Any, bias: Any) -> Any:
    """A matrix on the right is a linear layer's weight, folded where it is constant."""
    if b.dim() == 2:
        return nn.linear(a, b.t(), bias)
    result = torch.matmul(a, b)
    return result if bias is None else result + bias


@operator("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(node: Any, a: Any, b: Any, b_scale: Any, b_zero: Any = None, bias: Any = None) -> Any:
    return _product(_rounded(a), _real(b, b_scale, b_zero), bias)


@operator("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(node: Any, a: Any, b: Any, a_scale: Any, b_scale: Any, a_zero: Any = None,
                            b_zero: Any = None, bias: Any = None) -> Any:  # fmt: skip
    return _product(_real(a, a_scale, a_zero), _real(b, b_scale, b_zero), bias)
