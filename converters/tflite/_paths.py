"""Module paths of the source model, from the names that converters give tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CALLS = frozenset({"StatefulPartitionedCall", "PartitionedCall"})
_READS = re.compile(r"(resource|ReadVariableOp|read)\d*")
_BARE = re.compile(r"(Conv2D|depthwise|MatMul|convolution)(_Fold)?\d*")

Path = tuple[str, ...]


def module_path(tensor_name: str) -> str:
    """``block.conv`` from ``m.Net/m.Block_block/torch.nn.Conv2d_conv;1``; empty when there is no such path.

    litert-torch writes ``module.Class_attribute`` per level, and joins what was fused with ``;``. A class
    name with an underscore cannot be told from its attribute; the first underscore is taken.
    """
    paths = []
    for levels in locations(tensor_name):
        attributes = [level.rpartition(".")[2].partition("_")[2] for level in levels[1:]]
        paths.append(".".join(filter(None, attributes)))
    deepest = max((path.count(".") for path in paths if path), default=0)
    return "+".join(dict.fromkeys(path for path in paths if path and path.count(".") == deepest))


def locations(tensor_name: str) -> list[list[str]]:
    """The levels of each location of litert-torch in a name; each level carries its Python module."""
    parts = [part.split("/") for part in re.split(r";\d*", tensor_name) if part]
    return [levels for levels in parts if all("." in level for level in levels)]


def scopes(tensor_name: str) -> list[Path]:
    """The layers that TensorFlow's converter names: ``block/conv`` of ``block/conv/BiasAdd;block/conv/Conv2D``.

    Of what it joins, a kernel alone (``block/other/Conv2D``) may be a layer whose constants were shared; it counts
    only where no other operator tells more.
    """
    found: dict[Path, list[str]] = {}
    for part in tensor_name.split(";"):
        levels = [level for level in part.split("/") if level and level not in _CALLS]
        while len(levels) > 1 and _READS.fullmatch(levels[-1]):
            levels.pop()
        if len(levels) > 1:
            found.setdefault(tuple(levels[:-1]), []).append(levels[-1])
    whole = [path for path, names in found.items() if not all(_BARE.fullmatch(name) for name in names)]
    return whole or list(found)


def kernel(weight_name: str, depthwise: bool) -> list[Path]:
    """The layer that a convolution's or product's own weights are of, which :func:`scopes` may have left out.

    Args:
        weight_name: Of the tensor; where it is joined of several, it may name kernels of other layers too.
        depthwise: Whether it is a depthwise convolution's.
    """
    parts = weight_name.split(";")
    own = [part for part in parts if len(parts) == 1 or ("depthwise" in part.rpartition("/")[2]) == depthwise]
    bare = [part for part in own if _BARE.fullmatch(part.rpartition("/")[2])]
    return scopes(bare[0]) if len(bare) == 1 else []


def joined(layers: Sequence[list[Path]]) -> list[str]:
    """Scopes of all layers of a file as dotted paths, without the levels that all of them have in front."""
    every = [path for paths in layers for path in paths]
    shared = 0
    while every and all(len(path) > shared + 1 and path[shared] == every[0][shared] for path in every):
        shared += 1
    return ["+".join(".".join(path[shared:]) for path in paths) for paths in layers]
