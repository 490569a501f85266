"""Programs that arrive quantized: found out, and turned back into float ones for targets with a quantizer of their own.

PT2E and QAT write an 8-bit operator as a float one between conversions: ``dequantize``, operator, ``quantize``. In
place of a conversion there may be a fake quantization, or torchao's operators for blocks of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.layers import constant_nodes
from edgekit.errors import UnsupportedError

Activations = Literal["static", "dynamic", "float"]

_NAMESPACES = ("quantized_decomposed", "torchao", "torch_ao", "pt2e_quant")
_FAKE = ("fake_quantize", "_fake_quantize", "_fused_moving_avg_obs_fq_helper", "fused_moving_avg_obs_fake_quant")
# Place of the least and the largest integer among the arguments.
_LIMITS = {"dequantize_per_tensor": (3, 4), "dequantize_per_channel": (4, 5), "dequantize_affine": (5, 6),
           "dequantize_per_channel_group": (3, 4), "dequantize_per_token": (3, 4)}  # fmt: skip


@dataclass(frozen=True)
class QuantizedOperator:
    """An operator of a program that stands for one on integers.

    Attributes:
        path: Where in the user's model it is.
        operator: Its type.
        name: Of its node.
        activations: ``static`` where the ranges of its inputs are stored, ``dynamic`` where they are taken at run
            time, ``float`` where only its weights are integers.
        weight_bits: Bits of a weight; 0 without quantized weights.
    """

    path: str
    operator: str
    name: str
    activations: Activations
    weight_bits: int


def quantized_operators(module: Any) -> list[QuantizedOperator]:
    """The operators of a graph module whose inputs or weights are quantized; empty for a float program.

    Args:
        module: ``torch.fx.GraphModule``, flat or as ``ExportedProgram.module()`` gives it.
    """
    constants = constant_nodes(module.graph)
    found = []
    for node in module.graph.nodes:
        if node.op != "call_function" or not operators.is_aten(node) or _is_conversion(node) or node in constants:
            continue
        restored = [source for source in node.all_input_nodes if _restores(source)]
        if restored:
            activations = [_kind(source) for source in restored if source not in constants]
            bits = [_bits(source) for source in restored if source in constants]
            kind: Activations = activations[0] if activations else "float"
            path = operators.module_path(node)
            found.append(QuantizedOperator(path, str(node.target), node.name, kind, max(bits, default=0)))
    return found


def to_float(exported: Any) -> tuple[Any, list[str]]:
    """The float program that a quantized one approximates; a float program comes back as it is.

    Weights become float32 with the values they have as integers, so they stay on their grid: quantized again with
    symmetric scales per channel they are the same integers. Activations are no longer rounded, and their ranges are
    forgotten.

    Args:
        exported: ``torch.export.ExportedProgram`` with example inputs.

    Returns:
        The program, and sentences that say what was kept and what was not.

    Raises:
        UnsupportedError: Integers go in or out, or it computes on them in a way of its own.
    """
    module = exported.module(check_guards=False)
    found = quantized_operators(module)
    if not found and not any(_is_conversion(node) for node in module.graph.nodes):
        return exported, []
    weights = _restore_constants(module)
    stripped = _strip_activations(module)
    tidy(module)
    left = [node for node in module.graph.nodes if _is_conversion(node)]
    if left:
        names = ", ".join(dict.fromkeys(f"{node.target} at {operators.module_path(node)}" for node in left))
        raise UnsupportedError(
            f"This program is quantized in a way that cannot be undone: {names}.",
            hint="Export the float model, or a PT2E program whose inputs and outputs are float.",
        )
    notes = [
        f"The program arrived quantized. Kept: the values of its quantized weights ({weights}). "
        f"Not kept: the rounding and the ranges of its activations ({stripped})."
    ]
    return programs.export_like(module, exported), notes


def fold_weights(exported: Any) -> Any:
    """Store the integers of weights that a program stores as floats and quantizes at every run.

    ``convert_pt2e(fold_quantize=False)`` makes such programs; ExecuTorch has no kernel for it.
    """
    module = exported.module(check_guards=False)
    constants = constant_nodes(module.graph)
    late = [node for node in module.graph.nodes if node in constants and _is_conversion(node) and not _restores(node)]
    late = [node for node in late if _name(node).startswith("quantize")]
    if not late:
        return exported
    for node in late:
        _store(module, node, f"integers_{node.name}")
    tidy(module)
    return programs.export_like(module, exported)


def tidy(module: Any) -> None:
    """Drop what nothing uses any more from a changed graph module: a converter would store such weights."""
    module.graph.eliminate_dead_code()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in (*module.named_buffers(recurse=False), *module.named_parameters(recurse=False))]:
        if name not in used:
            delattr(module, name)
    module.recompile()


def _store(module: Any, node: Any, name: str) -> None:
    """Put the value of a constant node in its place."""
    module.register_buffer(name, _value(module, node).detach().clone().contiguous())
    with module.graph.inserting_before(node):
        stored = module.graph.get_attr(name)
    stored.meta = dict(node.meta)
    node.replace_all_uses_with(stored)


def _restore_constants(module: Any) -> int:
    """Compute what dequantizes stored integers; returns how many tensors that were."""
    constants = constant_nodes(module.graph)
    count = 0
    for node in list(module.graph.nodes):
        if node not in constants or not _restores(node):
            continue
        if all(user in constants and _is_conversion(user) for user in node.users):
            continue  # in between; the last one counts
        _store(module, node, f"restored_{node.name}")
        count += 1
    module.graph.eliminate_dead_code()
    return count


def _strip_activations(module: Any) -> int:
    """Connect what was before a conversion with what comes behind it; returns how many there were."""
    count = 0
    for node in list(module.graph.nodes):
        if not _restores(node):
            continue
        source = node.args[0]
        if not _is_fake(node):
            if not (_is_conversion(source) and not _restores(source)):
                continue  # integers from elsewhere
            source = source.args[0]
        for user in list(node.users):
            # The helper of fake quantization in training returns a tuple.
            picks = not operators.is_aten(user) and user.op == "call_function" and "getitem" in str(user.target)
            if _is_fake(node) and picks:
                user.replace_all_uses_with(source)
        node.replace_all_uses_with(source)
        count += 1
    return count


def _value(module: Any, node: Any) -> Any:
    """What a constant node computes."""
    import torch

    if node.op == "get_attr":
        value = module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda item: _value(module, item))
    with torch.no_grad():
        return node.target(*args, **kwargs)


def _name(node: Any) -> str:
    return str(node.target).split(".")[1] if node.op == "call_function" and "." in str(node.target) else ""


def _is_fake(node: Any) -> bool:
    return _name(node).startswith(_FAKE)


def _is_conversion(node: Any) -> bool:
    """Whether a node is part of the notation of quantization, rather than an operator of the model."""
    if node.op != "call_function":
        return False
    return str(node.target).split(".")[0] in _NAMESPACES or _is_fake(node)


def _restores(node: Any) -> bool:
    """Whether a node gives floats that stand for integers."""
    return _is_fake(node) or (_is_conversion(node) and _name(node).startswith("dequantize"))


def _kind(node: Any) -> Activations:
    """Of an activation: whether its scale is stored."""
    import torch

    scale = node.args[1] if _name(node) != "dequantize_affine" else node.args[2]
    is_stored = not isinstance(scale, torch.fx.Node) or scale.op == "get_attr"
    return "static" if is_stored else "dynamic"


def _bits(node: Any) -> int:
    low, high = _LIMITS.get(_name(node), (-2, -1))
    try:
        return int(node.args[high] - node.args[low]).bit_length()
    except (IndexError, TypeError):  # not among the arguments
        return 8
