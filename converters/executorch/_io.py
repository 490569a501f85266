"""Integers at the borders of a quantized program (``--io int8``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.executorch._pt2e import LEAST, MOST, Range, no_range

_Parameters = tuple[float, int]  # scale and zero point


def to_integers(
    module: Any, args: tuple[Any, ...], signature: Mapping[str, Any], ranges: Mapping[str, Range]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Take and return int8 where a program takes and returns float32.

    A border that is quantized anyway keeps its scale, and loses the conversion; any other is quantized over its
    calibrated range.

    Args:
        module: Flat ``torch.fx.GraphModule`` with conversions; is changed.
        args: Example inputs.
        signature: :class:`edgekit.types.Signature` as JSON.
        ranges: Of tensors by name of their node.

    Returns:
        Example inputs and the signature, as they now have to be.

    Raises:
        ConversionError: A border has no range.
    """
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    output = next(node for node in module.graph.nodes if node.op == "output")
    taken = [_take(module, node, spec, ranges) for node, spec in zip(inputs, signature["inputs"], strict=True)]
    returned = []
    specs = []
    for node, spec in zip(output.args[0], signature["outputs"], strict=True):
        result, new_spec = _return(module, output, node, spec, ranges)
        returned.append(result)
        specs.append(new_spec)
    output.args = (tuple(returned),)
    module.graph.eliminate_dead_code()
    module.recompile()
    examples = tuple(_integers(value, spec) for value, spec in zip(args, taken, strict=True))
    return examples, {**signature, "inputs": taken, "outputs": specs}


def _take(module: Any, node: Any, spec: dict[str, Any], ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Make a placeholder one of integers."""
    import torch

    if spec["dtype"] != "float32":
        return spec
    ready = [user for user in node.users if _is_static(user, "quantize_per_tensor")]
    scale, zero = ready[0].args[1:3] if ready else _parameters(node.name, ranges)
    rest = (float(scale), int(zero), LEAST, MOST, torch.int8)
    for user in ready:
        if user.args[1:] == rest:
            user.replace_all_uses_with(node)
            module.graph.erase_node(user)
    float_users = [user for user in node.users if not _is_static(user, "dequantize_per_tensor", rest)]
    if float_users:
        with module.graph.inserting_after(node):
            restored = module.graph.call_function(
                torch.ops.quantized_decomposed.dequantize_per_tensor.default, (node, *rest)
            )
        for user in float_users:
            user.replace_input_with(node, restored)
    return {**spec, "dtype": "int8", "scale": float(scale), "zero_point": int(zero)}


def _return(
    module: Any, output: Any, node: Any, spec: dict[str, Any], ranges: Mapping[str, Range]
) -> tuple[Any, dict[str, Any]]:
    """What to return in place of a node."""
    import torch

    if spec["dtype"] != "float32":
        return node, spec
    if _is_static(node, "dequantize_per_tensor"):
        source, scale, zero = node.args[:3]
    else:
        scale, zero = _parameters(node.name, ranges)
        with module.graph.inserting_before(output):
            source = module.graph.call_function(
                torch.ops.quantized_decomposed.quantize_per_tensor.default, (node, scale, zero, LEAST, MOST, torch.int8)
            )
    return source, {**spec, "dtype": "int8", "scale": float(scale), "zero_point": int(zero)}


def _is_static(node: Any, name: str, rest: tuple[Any, ...] | None = None) -> bool:
    """Whether a node converts between float32 and int8 with stored parameters."""
    import torch

    if str(node.target) != f"quantized_decomposed.{name}.default" or node.args[3:6] != (LEAST, MOST, torch.int8):
        return False
    return rest is None or node.args[1:] == rest


def _parameters(name: str, ranges: Mapping[str, Range]) -> _Parameters:
    """Scale and zero point of 8 bits over a range that holds zero (Jacob et al. 2018, section 2.1)."""
    if name not in ranges:
        raise no_range([name])
    low, high = ranges[name]
    scale = (high - low) / (MOST - LEAST) or 1.0  # a tensor of zeros needs no step
    return scale, max(LEAST, min(MOST, round(LEAST - low / scale)))


def _integers(value: Any, spec: Mapping[str, Any]) -> Any:
    import torch

    if spec["dtype"] != "int8" or value.dtype == torch.int8:
        return value
    return (value / spec["scale"] + spec["zero_point"]).round().clamp(LEAST, MOST).to(torch.int8)
