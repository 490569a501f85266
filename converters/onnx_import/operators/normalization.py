"""Normalization."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import RefusalError, operator
from converters.onnx_import.tensors import typed


@operator("BatchNormalization")
def batch_norm(node: Any, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    if node.get("training_mode", 0) or (node.version < 7 and not node.get("is_test", 0)):
        raise RefusalError("in training mode")
    if node.version < 9 and not node.get("spatial", 1):
        raise RefusalError("with statistics per element (spatial=0)")
    epsilon = node.get("epsilon", 1e-5)
    if x.dim() < 2:
        return (x - mean) * torch.rsqrt(var + epsilon) * scale + bias
    same = [typed(item, x.dtype) for item in (mean, var, scale, bias)]
    return nn.batch_norm(x, same[0], same[1], same[2], same[3], False, 0.0, epsilon)


@operator("InstanceNormalization")
def instance_norm(node: Any, x: Any, scale: Any, bias: Any) -> Any:
    return nn.instance_norm(x, None, None, scale, bias, True, 0.0, node.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_norm(node: Any, x: Any, scale: Any, bias: Any = None) -> Any:
    axis, epsilon = node.get("axis", -1) % max(x.dim(), 1), node.get("epsilon", 1e-5)
    axes = list(range(axis, x.dim()))
    sizes = list(x.shape[axis:])
    if node.wanted <= 1 and list(scale.shape) == sizes and (bias is None or list(bias.shape) == sizes):
        return nn.layer_norm(x, sizes, scale, bias, epsilon)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = torch.mean(wide, axes, keepdim=True)
    centred = wide - mean
    inverse = torch.rsqrt(torch.mean(centred * centred, axes, keepdim=True) + epsilon)
    result = typed(centred * inverse, x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@operator("GroupNormalization")
def group_norm(node: Any, x: Any, scale: Any, bias: Any) -> Any:
    """Before opset 21, scale and bias were per group."""
    groups = node.get("num_groups")
    if scale.shape[0] != x.shape[1]:
        repeats = x.shape[1] // groups
        scale, bias = (item.repeat_interleave(repeats) for item in (scale, bias))
    return nn.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


@operator("RMSNormalization")
def rms_norm(node: Any, x: Any, scale: Any) -> Any:
    axes = list(range(node.get("axis", -1) % max(x.dim(), 1), x.dim()))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    inverse = torch.rsqrt(torch.mean(wide * wide, axes, keepdim=True) + node.get("epsilon", 1e-5))
    return typed(wide * inverse, x.dtype) * scale


@operator("LRN")
def local_response_norm(node: Any, x: Any) -> Any:
    """The window over the channels has its longer half behind."""
    size, alpha = node.get("size"), node.get("alpha", 1e-4)
    before = (size - 1) // 2
    squares = nn.pad((x * x).flatten(2).unsqueeze(1), [0, 0, before, size - 1 - before])
    means = nn.avg_pool2d(squares, (size, 1), 1).squeeze(1).reshape(x.shape)
    return x / torch.pow(means * alpha + node.get("bias", 1.0), node.get("beta", 0.75))


@operator("LpNormalization")
def lp_norm(node: Any, x: Any) -> Any:
    axis, power = node.get("axis", -1), node.get("p", 2)
    if power == 1:
        norm = torch.sum(torch.abs(x), axis, keepdim=True)
    else:
        norm = torch.sqrt(torch.sum(x * x, axis, keepdim=True))
    # Where all is zero, so is the result.
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))


@operator("MeanVarianceNormalization")
def mean_variance_norm(node: Any, x: Any) -> Any:
    axes = list(node.get("axes") or [0, 2, 3])
    mean = torch.mean(x, axes, keepdim=True)
    centred = x - mean
    return centred / (torch.sqrt(torch.mean(centred * centred, axes, keepdim=True)) + 1e-9)
