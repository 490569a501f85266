"""Matrix products."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import INTERNAL, operator


def _constant(like: Any, tensor: Any) -> Any:
    """A constant made of another."""
    made = copy.copy(like)
    made.tensor = tensor.contiguous()
    return made


def _matmul_as_linear(node: Any, operands: Sequence[Any]) -> Any:
    """A constant matrix on the right is the weight of a linear layer."""
    x, weight = operands
    if not weight.constant or weight.tensor.dim() != 2 or x.tensor.dim() < 1:
        return None
    if not weight.tensor.dtype.is_floating_point:
        return None
    return "Linear", [x, _constant(weight, weight.tensor.t()), None]


@operator("MatMul", rewrite=_matmul_as_linear)
def matmul(node: Any, a: Any, b: Any) -> Any:
    if a.dtype in (torch.uint32, torch.uint64):
        return torch.matmul(a.to(torch.int64), b.to(torch.int64)).to(a.dtype)
    return torch.matmul(a, b)


@operator("Linear", domain=INTERNAL)
def linear(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    return nn.linear(x, weight, bias)


def _gemm_as_linear(node: Any, operands: Sequence[Any]) -> Any:
    a, b, c = [*operands, None][:3]
    if node.get("transA", 0) or not b.constant or not b.tensor.dtype.is_floating_point:
        return None
    weight = b.tensor if node.get("transB", 0) else b.tensor.t()
    if c is not None:
        outputs = weight.shape[0]
        if not c.constant or c.tensor.numel() not in (1, outputs) or (c.tensor.dim() == 2 and c.tensor.shape[0] != 1):
            return None
        beta = node.get("beta", 1.0)
        bias = c.tensor.reshape(-1).expand(outputs)
        c = _constant(c, bias if beta == 1.0 else bias * beta)
    alpha = node.get("alpha", 1.0)
    return "Linear", [a, _constant(b, weight if alpha == 1.0 else weight * alpha), c]


@operator("Gemm", rewrite=_gemm_as_linear)
def gemm(node: Any, a: Any, b: Any, c: Any = None) -> Any:
    a = a.t() if node.get("transA", 0) else a
    b = b.t() if node.get("transB", 0) else b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if a.dtype.is_floating_point:
        result = torch.matmul(a, b)
    else:
        result, alpha, beta = torch.matmul(a, b), int(alpha), int(beta)
    result = result if alpha == 1 else result * alpha
    if c is None:
        return result
    return result + (c if beta == 1 else c * beta)


@operator("Einsum")
def einsum(node: Any, *operands: Any) -> Any:
    return torch.einsum(node.get("equation"), *operands)


@operator("Det")
def det(node: Any, x: Any) -> Any:
    return torch.linalg.det(x)
