"""Layer paths from the name scopes of a TensorFlow graph.

A node is called ``StatefulPartitionedCall/model_1/block_1/conv_1/BiasAdd`` where the user knows ``block.conv``: calls
and the model's own scope stand before, and Keras 3 enters each layer's scope twice, so that TensorFlow numbers it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

CALLS = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
_MODELS = re.compile(r"(model|sequential|functional)(_\d+)?")
_NUMBER = re.compile(r"_\d+$")
_HELPERS = frozenset("batchnorm cond einsum Gelu LayerNorm moments normalize Tensordot transpose while".split())
"""Scopes that TensorFlow's functions and Keras's layers open inside a layer."""


def layer_names(nodes: Sequence[str], variables: Iterable[str]) -> dict[str, str]:
    """New names for the nodes of a graph: ``layer/sublayer/Operator``, each unique.

    Args:
        nodes: Names of all nodes.
        variables: Names of the model's variables (``block/conv/kernel:0``); they tell whether scopes are numbered.
    """
    scopes = {name: _scopes(name) for name in nodes}
    if _numbered(scopes.values(), variables):
        scopes = {name: _unnumbered(found) for name, found in scopes.items()}
    else:
        scopes = {name: _outside_helpers(found) for name, found in scopes.items()}
    outer = {found[0] for found in scopes.values() if found}
    if len(outer) == 1 and any(len(found) > 1 for found in scopes.values()):
        scopes = {name: found[1:] for name, found in scopes.items()}
    taken: set[str] = set()
    renamed = {}
    for name in nodes:
        own = name.rpartition("/")[2]
        # Where TensorFlow inlined a call it made nodes such as ``call/_0``, and no name may begin like that.
        renamed[name] = _free("/".join([*scopes[name], f"inlined{own}" if own.startswith("_") else own]), taken)
    return renamed


def path_of(name: str) -> str:
    """The layer path in one node's name: ``block.conv`` of ``model/block/conv/BiasAdd``; empty where there is none.

    Without the other names of the graph, numbers are taken for the user's own, and a first scope for the model's where
    Keras calls models so.
    """
    scopes = _outside_helpers(_scopes(name))
    if len(scopes) > 1 and _MODELS.fullmatch(scopes[0]):
        scopes = scopes[1:]
    return ".".join(scopes)


def _scopes(name: str) -> list[str]:
    """The scopes of a node without those of calls."""
    return [scope for scope in name.split("/")[:-1] if scope and not CALLS.fullmatch(scope)]


def _numbered(scopes: Iterable[list[str]], variables: Iterable[str]) -> bool:
    """Whether layers have a number behind their name that is none of the name."""
    found = {scope for entry in scopes for scope in entry}
    layers = {parts[-2] for parts in (name.split("/") for name in variables) if len(parts) > 1}
    numbered = {_NUMBER.sub("", scope) for scope in found if _NUMBER.search(scope)} - found
    return len(layers & numbered) > len(layers & found)


def _unnumbered(scopes: Sequence[str]) -> list[str]:
    """The scopes that are layers: those with a number, which is taken off."""
    found = []
    for scope in scopes:
        bare = _NUMBER.sub("", scope)
        if bare == scope or bare in _HELPERS:
            break
        found.append(bare)
    return found


def _outside_helpers(scopes: Sequence[str]) -> list[str]:
    found = []
    for scope in scopes:
        if _NUMBER.sub("", scope) in _HELPERS:
            break
        found.append(scope)
    return found


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where it is taken; names that differ in case alone count as one, as in TensorFlow."""
    wanted, count = name, 1
    while name.lower() in taken:
        name, count = f"{wanted}_{count}", count + 1
    taken.add(name.lower())
    return name
