"""One spelling for operators that programs spell in several ways.

TorchScript and decomposed programs say ``convolution`` and ``addmm`` where a fresh export says ``conv2d`` and
``linear``. Quantizers know the latter alone, and would leave the former float without a word (seen with ExecuTorch's).
"""

from __future__ import annotations

from typing import Any

_CONVOLUTIONS = ("aten.convolution.default", "aten._convolution.default")
_TRANSPOSES = ("aten.t.default", "aten.permute.default", "aten.transpose.int")


_VIEWS = ("aten.view.default", "aten.reshape.default")


def normalize(module: Any) -> None:
    """Rewrite a graph module in place; it computes the same."""
    for node in list(module.graph.nodes):
        if str(node.target) in _CONVOLUTIONS:
            _rewrite_convolution(module, node)
        elif str(node.target) in ("aten.addmm.default", "aten.mm.default"):
            _rewrite_linear(module, node)
        elif str(node.target) in _VIEWS:
            _rewrite_view(node)
        elif str(node.target) == "aten.flatten.using_ints":
            _rewrite_flatten(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _rewrite_convolution(module: Any, node: Any) -> None:
    import torch

    data, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args[:9]
    dimensions = weight.meta["val"].dim() - 2 if "val" in weight.meta else len(stride)
    if dimensions not in (1, 2, 3):
        return
    aten = torch.ops.aten
    arguments: tuple[Any, ...]
    if transposed:
        kind = {1: aten.conv_transpose1d.default, 2: aten.conv_transpose2d.input, 3: aten.conv_transpose3d.input}
        arguments = (data, weight, bias, stride, padding, output_padding, groups, dilation)
    else:
        kind = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
        arguments = (data, weight, bias, stride, padding, dilation, groups)
    node.target, node.args = kind[dimensions], arguments


def _rewrite_view(node: Any) -> None:
    """The one open size of a view is what is left over, -1: a number that has to be computed hinders converters."""
    import torch

    sizes = list(node.args[1])
    computed = [place for place, size in enumerate(sizes) if isinstance(size, torch.fx.Node)]
    if len(computed) == 1 and -1 not in sizes:
        sizes[computed[0]] = -1
        node.args = (node.args[0], sizes, *node.args[2:])


def _rewrite_flatten(node: Any) -> None:
    """The same for what becomes a view only later: where one of the sizes that stay is open."""
    import torch

    value = node.meta.get("val")
    shape = () if value is None else tuple(value.shape)
    if sum(not isinstance(size, int) for size in shape) == 1:
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        node.target, node.args, node.kwargs = torch.ops.aten.reshape.default, (node.args[0], sizes), {}


def _rewrite_linear(module: Any, node: Any) -> None:
    """``addmm(bias, x, weight.t())`` and ``mm(x, weight.t())`` of a constant weight."""
    import torch

    bias, data, turned = node.args if len(node.args) == 3 else (None, *node.args)
    plain = not node.kwargs and (bias is None or bias.op == "get_attr")
    if not plain or str(turned.target) not in _TRANSPOSES or turned.args[0].op != "get_attr":
        return
    if list(turned.args[1:]) not in ([], [[1, 0]], [0, 1], [1, 0]):
        return
    node.target, node.args = torch.ops.aten.linear.default, (data, turned.args[0], bias)
