"""Operators whose integer kernel in TFLite writes one scale only: softmax, sigmoid and tanh.

The parameters are those of TFLite's specification of 8-bit quantization ("8-bit quantization specification",
operator table).
"""

from __future__ import annotations

from typing import Any

from converters.layers import MOVES
from converters.torch_export.layers import kind_of

_FIXED = {"softmax": (1 / 256, -128), "sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}
_TIED = MOVES | {"max_pool", "relu", "clamp"}
_QUANTIZE, _DEQUANTIZE = (f"quantized_decomposed.{word}_per_tensor.default" for word in ("quantize", "dequantize"))


def fix(module: Any) -> list[str]:
    """Give such operators their scale, in place; where others share the one they have, they compute in float.

    Args:
        module: Flat ``torch.fx.GraphModule`` with conversions.

    Returns:
        A note on what got another scale, or none.
    """
    import torch

    count = 0
    for node in list(module.graph.nodes):
        wanted = _FIXED.get(kind_of(node)) if node.op == "call_function" else None
        for rounded in [user for user in node.users if str(user.target) == _QUANTIZE]:
            if wanted is None or rounded.args[1:3] == wanted:
                continue
            if _is_tied(rounded):
                # No value is outside, and between two floats no integer operator is made.
                with module.graph.inserting_before(rounded):
                    float_one = module.graph.call_function(torch.ops.aten.clamp.default, (node, -1.0, 1.0))
                float_one.meta = dict(node.meta)
                rounded.replace_input_with(node, float_one)
                continue
            for item in (rounded, *rounded.users):
                item.args = (item.args[0], *wanted, *item.args[3:])
            count += 1
    module.recompile()
    if not count:
        return []
    return [f"{count} outputs of softmax, sigmoid or tanh got the scale that TFLite prescribes for them."]


def _is_tied(rounded: Any) -> bool:
    """Whether something must have the scale of these integers, or reads them as they are."""
    restored = list(rounded.users)
    if any(str(item.target) != _DEQUANTIZE for item in restored):
        return True
    return any(kind_of(reader) in _TIED for item in restored for reader in item.users if reader.op == "call_function")
