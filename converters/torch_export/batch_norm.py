"""BatchNorm in inference is a scale and a shift: fold it into the layer before it or behind it, or write it as that.

Own pass, because the targets' own ones differ: ExecuTorch's dies on some parameter names, LiteRT's leaves a BatchNorm
behind a ReLU alone, and none of them folds one behind a Linear. Arithmetic in float64, so that folding costs no
accuracy (Jacob et al. 2018, section 3.2, have the formula).
"""

from __future__ import annotations

from typing import Any

_ATEN_NORMS = ("aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default")
# Their output channels are the first axis of the weight and the second of the output.
_CONVOLUTIONS = ("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
_FLATTENING = ("aten.flatten.using_ints", "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
_FOLDABLE = (*_CONVOLUTIONS, "aten.linear.default")


def fold(module: Any) -> list[str]:
    """Remove every BatchNorm from a graph module, in place.

    Returns:
        A sentence that says how many went where; empty when there was none.
    """
    folded = forward = rewritten = 0
    for node in list(module.graph.nodes):
        if str(node.target) not in _ATEN_NORMS:
            continue
        scale, shift = _scale_and_shift(module, node)
        if _can_fold(module, node):
            _fold_into(module, node.args[0], scale, shift)
            _replace(node, node.args[0])
            folded += 1
        elif _fold_forward(module, node, scale, shift):
            _replace(node, node.args[0])
            forward += 1
        else:
            _replace(node, _as_multiply_add(module, node, scale, shift))
            rewritten += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    if not folded + forward + rewritten:
        return []
    where = [f"{folded} BatchNorm folded into the layer before"] * bool(folded)
    where += [f"{forward} {'' if folded else 'BatchNorm '}folded into the layer behind"] * bool(forward)
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
    new_weight = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    new_bias = bias * scale + shift
    _give(module, layer, new_weight, new_bias)


def _give(module: Any, layer: Any, weight: Any, bias: Any) -> None:
    """Another weight and bias for a layer. New attributes: the old ones may be shared with another layer."""
    dtype, base = _tensor(module, layer.args[1]).dtype, str(layer.args[1].target)
    with module.graph.inserting_before(layer):
        weight_node = _constant(module, f"{base}_folded_{layer.name}", weight.to(dtype))
        bias_node = _constant(module, f"{base}_folded_bias_{layer.name}", bias.to(dtype))
    layer.args = (layer.args[0], weight_node, bias_node, *layer.args[3:])


def _fold_forward(module: Any, node: Any, scale: Any, shift: Any) -> bool:
    """Fold into the only reader, where an activation is between the BatchNorm and the layer before it.

    ``w(x * scale + shift) + b = (w * scale) x + (w shift + b)``: exact for a Linear, also behind a flattening, and for
    convolutions without padding, whose zeros would have to be shifted, too.

    Returns:
        Whether it could.
    """
    import torch

    source = node if str(node.target) == _ATEN_NORMS[0] else next(iter(node.users), None)
    if source is None or (source is not node and len(node.users) != 1):
        return False
    channels, value = scale.numel(), source.meta.get("val", node.args[0].meta["val"])
    while len(source.users) == 1 and str(next(iter(source.users)).target) in _FLATTENING:
        source = next(iter(source.users))
        if source.meta["val"].dim() != 2 or source.meta["val"].shape[0] != value.shape[0]:
            return False
    (layer,) = source.users if len(source.users) == 1 else (None,)
    if layer is None or str(layer.target) not in _FOLDABLE or layer.args[0] is not source:
        return False
    bias_node = layer.args[2] if len(layer.args) > 2 else None
    if layer.args[1].op != "get_attr" or (bias_node is not None and bias_node.op != "get_attr"):
        return False
    weight = _tensor(module, layer.args[1]).double()
    kind = str(layer.target)
    if kind == "aten.linear.default" and source.meta["val"].dim() == 2 and weight.shape[1] % channels == 0:
        repeats = weight.shape[1] // channels  # a flattened channel lies in one piece
        by, plus = scale.repeat_interleave(repeats), shift.repeat_interleave(repeats)
        new_weight, added = weight * by, weight @ plus
    elif kind in _CONVOLUTIONS and source.meta["val"].dim() == weight.dim() and _is_plain(layer):
        shape = (1, -1, *[1] * (weight.dim() - 2))
        new_weight = weight * scale.reshape(shape)
        added = (weight * shift.reshape(shape)).flatten(1).sum(1)
    else:
        return False
    bias = torch.zeros_like(added) if bias_node is None else _tensor(module, bias_node).double()
    _give(module, layer, new_weight, bias + added)
    return True


def _is_plain(layer: Any) -> bool:
    """Whether a convolution reads every channel and nothing beside the picture."""
    padding = layer.args[4] if len(layer.args) > 4 else 0
    groups = layer.args[6] if len(layer.args) > 6 else 1
    return groups == 1 and not isinstance(padding, str) and not any(padding if isinstance(padding, list) else [padding])


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
