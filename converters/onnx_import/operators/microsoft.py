"""Fused operators of ONNX Runtime (``com.microsoft``) that exporters and its optimizer write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import MICROSOFT, RefusalError, operator
from converters.onnx_import.operators.convolution import conv
from converters.onnx_import.operators.linear import gemm
from converters.onnx_import.tensors import typed


@operator("Gelu", domain=MICROSOFT)
def gelu(node: Any, x: Any) -> Any:
    return nn.gelu(x)


@operator("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: Any, x: Any, bias: Any) -> Any:
    return nn.gelu(x + bias)


@operator("FastGelu", domain=MICROSOFT)
def fast_gelu(node: Any, x: Any, bias: Any = None) -> Any:
    return nn.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: Any, x: Any) -> Any:
    return x * torch.sigmoid(node.get("alpha", 1.702) * x)


_ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Relu": lambda x, _: torch.relu(x),
    "Sigmoid": lambda x, _: torch.sigmoid(x),
    "Tanh": lambda x, _: torch.tanh(x),
    "LeakyRelu": lambda x, given: nn.leaky_relu(x, given[0] if given else 0.01),
    "Clip": lambda x, given: torch.clamp(x, given[0], given[1]),
    "HardSigmoid": lambda x, given: torch.clamp(x * given[0] + given[1], 0.0, 1.0),
    "": lambda x, _: x,
}


def _activated(x: Any, name: str, given: Any) -> Any:
    if name not in _ACTIVATIONS:
        raise RefusalError(f"with activation {name}")
    return _ACTIVATIONS[name](x, given)


@operator("FusedConv", domain=MICROSOFT)
def fused_conv(node: Any, x: Any, weight: Any, bias: Any = None, z: Any = None) -> Any:
    result = conv(node, x, weight, bias)
    result = result if z is None else result + z
    return _activated(result, node.get("activation", ""), node.get("activation_params"))


@operator("FusedGemm", domain=MICROSOFT)
def fused_gemm(node: Any, a: Any, b: Any, c: Any = None) -> Any:
    given = [node.get(name) for name in ("activation_alpha", "activation_beta") if node.get(name) is not None]
    return _activated(gemm(node, a, b, c), node.get("activation", ""), given)


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(node: Any, a: Any, b: Any) -> Any:
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise RefusalError("with transBatchA or transBatchB")
    a = a.transpose(-1, -2) if node.get("transA", 0) and a.dim() > 1 else a
    b = b.transpose(-1, -2) if node.get("transB", 0) and b.dim() > 1 else b
    alpha = node.get("alpha", 1.0)
    result = torch.matmul(a, b)
    return result if alpha == 1.0 else result * alpha


def _normed(x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    return nn.layer_norm(x, [x.shape[-1]], scale, bias, epsilon)


def _rms_normed(x: Any, scale: Any, epsilon: float) -> Any:
    wide = typed(x, torch.float32)
    result = wide * torch.rsqrt(torch.mean(wide * wide, -1, keepdim=True) + epsilon)
    return typed(result, x.dtype) * scale


@operator("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(node: Any, x: Any, skip: Any, scale: Any, beta: Any = None, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    return _normed(total, scale, beta, node.get("epsilon", 1e-12)), None, None, total


@operator("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_rms_norm(node: Any, x: Any, skip: Any, scale: Any, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    return _rms_normed(total, scale, node.get("epsilon", 1e-12)), None, None, total


@operator("SimplifiedLayerNormalization")
def simplified_layer_norm(node: Any, x: Any, scale: Any) -> Any:
    """ONNX Runtime writes it into the domain of ONNX itself."""
    if node.get("axis", -1) % x.dim() != x.dim() - 1 or node.wanted > 1:
        raise RefusalError("over several axes, or with its inverse deviation")
    return _rms_normed(x, scale, node.get("epsilon", 1e-5))


@operator("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(node: Any, words: Any, segments: Any, word_table: Any, place_table: Any, segment_table: Any,
                     scale: Any, bias: Any, mask: Any = None, places: Any = None) -> Any:  # fmt: skip
    """Embeddings of words, places and segments; lengths of samples come along for the attention behind it."""
    total = nn.embedding(words, word_table)
    total = total + (place_table[: words.shape[1]] if places is None else nn.embedding(places, place_table))
    if segments is not None and segment_table is not None:
        total = total + nn.embedding(segments, segment_table)
    result = _normed(total, scale, bias, node.get("epsilon", 1e-12))
    if node.wanted < 2:
        return result
    lengths = words[:, 0] * 0 if mask is None else torch.sum((mask == 1).to(torch.int32), 1)
    return result, typed(lengths, torch.int32), total
