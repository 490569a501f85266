"""BatchNorm in inference is a scale and a shift: fold it into the layer before it, or write it as just that.

Own pass, because the targets' own ones differ: ExecuTorch's dies on some parameter names, LiteRT's leaves a BatchNorm
behind a ReLU alone, and none of them folds one behind a Linear. Arithmetic in float64, so that folding costs no
accuracy (Jacob et al. 2018, section 3.2, have the formula).
"""

from __future__ import annotations

from typing import Any

_ATEN_NORMS = ("aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default")
# Their output channels are the first axis of the weight and the second of the output.
_FOLDABLE = ("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default", "aten.linear.default")


def fold(module: Any) -> list[str]:
    """Remove every BatchNorm from a graph module, in place.

    Returns:
        A sentence that says how many went where; empty when there was none.
    """
    folded = rewritten = 0
    for node in list(module.graph.nodes):
        if str(node.target) not in _ATEN_NORMS:
            continue
        scale, shift = _scale_and_shift(module, node)
        if _can_fold(module, node):
            _fold_into(module, node.args[0], scale, shift)
            _replace(node, node.args[0])
            folded += 1
        else:
            _replace(node, _as_multiply_add(module, node, scale, shift))
            rewritten += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    if not folded + rewritten:
        return []
    where = [f"{folded} BatchNorm folded into the layer before"] * bool(folded)
    where += [f"{rewritten} written as multiply and add"] * bool(rewritten)
    return [", ".join(where) + "."]


def _scale_and_shift(module: Any, node: Any) -> tuple[Any, Any]:
    """``y = x * scale + shift``, in float64."""
    import torch

    weight, bias = (None if item is None else _tensor(module, item).double() for item in node.args[1:3])
    mean, var = (_tensor(module, item).double() for item in node.args[3:5])
    epsilon = node.args[7] if str(node.target) == _ATEN_NORMS[0] else node.args[6]
    scale = torch.rsqrt(var + epsilon)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def _can_fold(module: Any, node: Any) -> bool:
    layer = node.args[0]
    if str(layer.target) not in _FOLDABLE or len(layer.users) != 1 or layer.args[1].op != "get_attr":
        return False
    # A Linear on more than two dimensions has its channels last, BatchNorm has them second.
    linear = str(layer.target) == "aten.linear.default" and layer.meta["val"].dim() != 2
    bias = layer.args[2] if len(layer.args) > 2 else None
    return not linear and (bias is None or bias.op == "get_attr")


def _fold_into(module: Any, layer: Any, scale: Any, shift: Any) -> None:
    import torch

    weight = _tensor(module, layer.args[1])
    bias_node = layer.args[2] if len(layer.args) > 2 else None
    bias = torch.zeros_like(shift) if bias_node is None else _tensor(module, bias_node).double()
    new_weight = (weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))).to(weight.dtype)
    new_bias = (bias * scale + shift).to(weight.dtype)
    # New attributes: the old ones may be shared with another layer.
    base = str(layer.args[1].target)
    with module.graph.inserting_before(layer):
        weight_node = _constant(module, f"{base}_folded_{layer.name}", new_weight)
        bias_node = _constant(module, f"{base}_folded_bias_{layer.name}", new_bias)
    layer.args = (layer.args[0], weight_node, bias_node, *layer.args[3:])


def _as_multiply_add(module: Any, node: Any, scale: Any, shift: Any) -> Any:
    import torch

    value = node.args[0].meta["val"]
    shape = (1, -1, *[1] * (value.dim() - 2))
    with module.graph.inserting_before(node):
        by = _constant(module, f"{node.name}_scale", scale.reshape(shape).to(value.dtype))
        plus = _constant(module, f"{node.name}_shift", shift.reshape(shape).to(value.dtype))
        product = module.graph.call_function(torch.ops.aten.mul.Tensor, (node.args[0], by))
        total = module.graph.call_function(torch.ops.aten.add.Tensor, (product, plus))
    for new in (product, total):
        new.meta = dict(node.meta)
    return total


def _replace(node: Any, new: Any) -> None:
    users = list(node.users)
    if str(node.target) == _ATEN_NORMS[0]:
        node.replace_all_uses_with(new)
        return
    for user in users:  # the functional form returns a tuple; only its first element means anything in inference
        user.replace_all_uses_with(new)


def _constant(module: Any, name: str, value: Any) -> Any:
    attribute = name.replace(".", "_")
    module.register_buffer(attribute, value)
    return module.graph.get_attr(attribute)


def _tensor(module: Any, node: Any) -> Any:
    value = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value.detach()
