"""One scale on both sides of operators that move or clip integers, and for all that is concatenated.

ONNX gives every tensor parameters of its own; TFLite refuses, and XNNPACK fails at run time (error 0x1) where an
operator that moves integers finds two. Tensors that such operators join get the parameters of the widest of them; the
saturation of the others stays, as an operator.
"""

from __future__ import annotations

from typing import Any

from converters.layers import MOVES
from converters.torch_export.layers import kind_of

_LEAST, _MOST = -128, 127
_PASSING = (MOVES | {"max_pool", "relu", "clamp"}) - {"cast", "gather", "resize", "stack"}
_QUANTIZE, _DEQUANTIZE = "quantize_per_tensor.default", "dequantize_per_tensor.default"

_Scale = tuple[float, int]  # scale and zero point


def tie(module: Any) -> int:
    """Give joined tensors common parameters, in place.

    Args:
        module: Flat ``torch.fx.GraphModule`` whose activations are int8 between conversions.

    Returns:
        How many tensors got other ones.
    """
    for node in list(module.graph.nodes):
        if _passes(node) and not _roundings(node):
            _round_behind(module, node)
    changed = 0
    for group in _groups(module):
        if len({item.args[1:3] for item in group}) > 1:
            changed += _unify(module, group)
    module.graph.lint()
    module.recompile()
    return changed


def _passes(node: Any) -> bool:
    """Whether a node moves or clips integers that are dequantized for it."""
    if node.op != "call_function" or kind_of(node) not in _PASSING or not hasattr(node.meta.get("val"), "dtype"):
        return False
    data = _data(node)
    return bool(data) and all(is_conversion(item, _DEQUANTIZE) for item in data)


def _data(node: Any) -> list[Any]:
    """The operands that hold data: all of a concatenation, the first of others."""
    if kind_of(node) == "concat":
        return list(node.args[0])
    return [node.args[0]] if hasattr(node.args[0], "op") else []


def _roundings(node: Any) -> list[Any]:
    """What rounds a tensor, where nothing else reads it."""
    users = list(node.users)
    return users if all(is_conversion(user, _QUANTIZE) for user in users) else []


def _round_behind(module: Any, node: Any) -> None:
    """Round what was moved as its data was: moved integers are integers, so this changes no value."""
    scales = {item.args[1:3] for item in _data(node)}
    if len(scales) > 1 or not node.users:
        return
    users = list(node.users)
    restored = _pair(module, node, scales.pop())
    for user in users:
        user.replace_input_with(node, restored)


def _groups(module: Any) -> list[set[Any]]:
    """Roundings of tensors that must have one scale."""
    groups: list[set[Any]] = []
    for node in module.graph.nodes:
        behind = _roundings(node) if _passes(node) else []
        if not behind:
            continue
        joined = {*behind, *(item.args[0] for item in _data(node))}
        for group in [group for group in groups if group & joined]:
            groups.remove(group)
            joined |= group
        groups.append(joined)
    return groups


def _unify(module: Any, group: set[Any]) -> int:
    """Give the tensors of a group the parameters that hold all of them; returns how many changed.

    Integers that come from an input of the program keep theirs, and with them the group.
    """
    import torch

    members = sorted(group, key=lambda item: str(item.name))
    if any(not is_conversion(item, _QUANTIZE) for item in members):
        return 0
    before = {item: item.args[1:3] for item in members}
    wanted = _covering(list(before.values()))
    for item in members:
        _set(item, wanted)
        for user in list(item.users):
            _set(user, wanted)
    low, high = _ends(wanted)
    for item, own in before.items():
        (least, most), half = _ends(own), wanted[0] / 2
        source = item.args[0]
        if least <= low + half and most >= high - half:
            continue
        if least == 0 and most >= high - half:
            with module.graph.inserting_before(item):
                clipped = module.graph.call_function(torch.ops.aten.relu.default, (source,))
        else:
            restored = _pair(module, source, wanted, before=item)
            with module.graph.inserting_before(item):
                clipped = module.graph.call_function(torch.ops.aten.clamp.default, (restored, least, most))
        clipped.meta = {"nn_module_stack": source.meta.get("nn_module_stack", {}), "val": source.meta.get("val")}
        item.replace_input_with(source, clipped)
    return sum(own != wanted for own in before.values())


def _ends(scale: _Scale) -> tuple[float, float]:
    return (_LEAST - scale[1]) * scale[0], (_MOST - scale[1]) * scale[0]


def _covering(scales: list[_Scale]) -> _Scale:
    """Parameters whose range holds those of all: one of them where it does so up to half a step, else new ones."""
    low = min(_ends(item)[0] for item in scales)
    high = max(_ends(item)[1] for item in scales)
    for item in sorted(scales, reverse=True):
        least, most = _ends(item)
        if least <= low + item[0] / 2 and most >= high - item[0] / 2:
            return item
    step = (high - low) / (_MOST - _LEAST)
    return step, max(_LEAST, min(_MOST, round(_LEAST - low / step)))


def _set(node: Any, scale: _Scale) -> None:
    node.args = (node.args[0], *scale, *node.args[3:])


def _pair(module: Any, source: Any, scale: _Scale, before: Any = None) -> Any:
    """Round a tensor and restore it, behind it or before another node; returns what restores it."""
    import torch

    calls, graph = torch.ops.quantized_decomposed, module.graph
    rest = (*scale, _LEAST, _MOST, torch.int8)
    with graph.inserting_after(source) if before is None else graph.inserting_before(before):
        rounded = graph.call_function(calls.quantize_per_tensor.default, (source, *rest))
    with graph.inserting_after(rounded):
        restored = graph.call_function(calls.dequantize_per_tensor.default, (rounded, *rest))
    for item in (rounded, restored):
        item.meta = {"nn_module_stack": source.meta.get("nn_module_stack", {})}
    return restored


def is_conversion(node: Any, start: str) -> bool:
    """Whether a node calls an operator of ``quantized_decomposed`` whose name starts so."""
    return node.op == "call_function" and str(node.target).startswith(f"quantized_decomposed.{start}")
