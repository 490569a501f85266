"""Does the data look like what the model was trained on? BatchNorm has kept the statistics of training, and is asked.

Runs in the child that holds the user's code: all that it needs of edgekit is imported at the top.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.torch_export.layers import kind_of
from converters.torch_export.operators import module_path

Array = npt.NDArray[Any]

SAMPLES = 32
"""Enough: the median over the channels of each BatchNorm is what counts."""

_SPREAD = 4.0
"""Factor between the spread of the data and that of training. Pictures that lack the usual division by a standard
deviation of 0.225 are a factor of 4.4 off, those of 0 to 255 in place of 0 to 1 one of 255. What a set of pictures has
of its own, dark ones or few kinds, stays below 2 in the median channel."""

_OFFSET = 5.0
"""Distance between the mean of the data and that of training, in standard deviations of training."""

_FEW_SAMPLES = 8
"""With fewer, one dark picture is a fourth of the data: then the data is only judged if it is much too wide."""
_SPREAD_OF_FEW = 16.0

OUTLIER = 50.0
"""How many times larger than the median sample one is that leaves the others five of the 255 steps of 8 bits."""

_CONSTANT = 1e-6
"""Of training's deviation: a channel that spreads less is constant, to rounding in float32."""

_LEAST_RAW_SAMPLES = 16


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm with no other before it.

    Attributes:
        path: In the model.
        fed_by: The node whose values it normalizes.
        mean, deviation: Of training, by channel.
        live: Which channels answered in training.
        inputs: Places of the inputs that reach it.
    """

    path: str
    fed_by: Any
    mean: Any
    deviation: Any
    live: Any
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class _Fit:
    """The spread of the data over that of training, and the distance of the means; medians over channels."""

    spread: float
    offset: float

    @property
    def distance(self) -> float:
        return abs(math.log(max(self.spread, 1e-9))) / math.log(_SPREAD) + self.offset / _OFFSET

    def is_off(self, samples: int) -> bool:
        if samples < _FEW_SAMPLES:
            return self.spread > _SPREAD_OF_FEW
        return not 1 / _SPREAD <= self.spread <= _SPREAD or self.offset > _OFFSET

    def __str__(self) -> str:
        parts = [f"{_times(self.spread)} the spread of training"]
        parts += [f"a mean {self.offset:.0f} of its standard deviations off"] * (self.offset > _OFFSET)
        return " and ".join(parts)


def suspicion(exported: Any, samples: Iterable[Any], input_names: Sequence[str] | None = None) -> str:
    """Compare what the first BatchNorms see with what they saw in training.

    Args:
        exported: ``torch.export.ExportedProgram`` with its BatchNorms, before they are folded.
        samples: Positional and keyword arguments of one sample each; the first 32 are used.
        input_names: Of the tensors among the arguments, in order, where the program's own are not the user's.

    Returns:
        What does not fit, in sentences: range and mean of the data, the factor, and what would fit. Empty when
        nothing is wrong, or when there is no BatchNorm that training has touched.
    """
    import torch
    from torch.utils import _pytree

    module, norms, names = _up_to_the_first_norms(exported)
    if not norms:
        return ""
    given = _usual([_pytree.tree_leaves(sample) for sample in itertools.islice(samples, SAMPLES)])
    if input_names is not None:
        tensors = [place for place, leaf in enumerate(given[0]) if isinstance(leaf, torch.Tensor)]
        names = [dict(zip(tensors, input_names, strict=True)).get(place, name) for place, name in enumerate(names)]
    with torch.no_grad():
        fits = _fits(module, norms, given)
        off = {place: fit for place, fit in enumerate(fits) if fit is not None and fit.is_off(len(given))}
        if not off:
            return ""
        worst = max(off, key=lambda place: off[place].distance)
        norm = norms[worst]
        cures = []
        for words, change in _changes(given, norm.inputs).items():
            changed = [[change(leaf) if i in norm.inputs else leaf for i, leaf in enumerate(row)] for row in given]
            fit = _fits(module, [norm], changed)[0]
            if fit is not None and not fit.is_off(len(given)):
                cures.append((fit.distance, words, fit))
    data = "; ".join(_described(names[place], [row[place] for row in given]) for place in norm.inputs)
    said = (
        f"The data does not look like what the model was trained on: {data}. BatchNorm {norm.path}, "
        f"which keeps the statistics of training, sees {off[worst]}."
    )
    if not cures:
        return said
    _, words, fit = min(cures, key=lambda cure: round(cure[0], 1))  # the plainest of those as good
    return f"{said} With {words} it would see {fit}."


def untrained_scale_note(inputs: Sequence[Array], outputs: Sequence[Array], labels: Array | None) -> str:
    """Raw pixels that a classifier makes nothing of: weaker evidence, for models without BatchNorm.

    Args:
        inputs: ``(samples, *shape)`` each.
        outputs: Of the source, ``(samples, batch, classes)`` where it is a classifier.
        labels: ``(samples, batch)`` integers; others are ignored.

    Returns:
        A sentence; empty without such labels, or when the model does better than guessing.
    """
    scores = [array for array in outputs if array.ndim == 3 and array.shape[2] > 1 and array.dtype.kind == "f"]
    raw = [array for array in inputs if array.dtype.kind == "f" and _is_raw(np.asarray(array[:SAMPLES]))]
    classes = labels is not None and labels.dtype.kind in "iu"
    if labels is None or not classes or not raw or not scores or labels.size < _LEAST_RAW_SAMPLES:
        return ""
    accuracy, chance = float((scores[0].argmax(2) == labels).mean()), 1 / scores[0].shape[2]
    if accuracy > chance + 2 * math.sqrt(chance * (1 - chance) / labels.size):  # two deviations of a binomial
        return ""
    return (
        f"The data are whole numbers from 0 to {float(np.max(raw[0][:SAMPLES])):.0f}, and the model itself is right in "
        f"{accuracy:.0%} of them, no better than guessing: was it trained on x / 255?"
    )


def _usual(given: list[list[Any]]) -> list[list[Any]]:
    """The samples without single ones that are far larger than most: those are a fault of their own."""
    import torch

    largest = torch.tensor([[_largest(leaf) for leaf in row] for row in given], dtype=torch.float64)
    usual = (largest <= OUTLIER * largest.quantile(0.5, 0)).all(1)
    return [row for row, keep in zip(given, usual.tolist(), strict=True) if keep] or given


def _largest(leaf: Any) -> float:
    return float(leaf.abs().max()) if hasattr(leaf, "is_floating_point") and leaf.is_floating_point() else 0.0


def _up_to_the_first_norms(exported: Any) -> tuple[Any, list[_Norm], list[str]]:
    """A module that takes all leaves of the arguments and returns what the first BatchNorms see."""
    import torch

    module = exported.module(check_guards=False)
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    reached: dict[Any, frozenset[int]] = {node: frozenset([place]) for place, node in enumerate(placeholders)}
    behind: set[Any] = set()
    norms: list[_Norm] = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            continue
        reached[node] = frozenset().union(*(reached[item] for item in node.all_input_nodes))
        after = any(item in behind for item in node.all_input_nodes)
        is_norm = node.op == "call_function" and kind_of(node) == "batch_norm"
        if is_norm and not after and (norm := _norm(module, node, reached[node])) is not None:
            norms.append(norm)
        if is_norm or after:
            behind.add(node)
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    output.args = (tuple(norm.fed_by for norm in norms),)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module, norms, [str(node.target) for node in placeholders]


def _norm(module: Any, node: Any, inputs: frozenset[int]) -> _Norm | None:
    """What a BatchNorm keeps; ``None`` where it keeps nothing, or nothing but what it was born with."""
    import torch

    kept = node.args[3:5]
    if any(getattr(item, "op", "") != "get_attr" for item in kept) or not inputs:
        return None
    mean, variance = (reduce(getattr, str(item.target).split("."), module).detach().double() for item in kept)
    if not mean.any() and bool((variance == 1).all()):
        return None
    epsilon = float(node.args[7] if str(node.target) == "aten.batch_norm.default" else node.args[6])
    # A channel that was silent in training says nothing.
    deviation, live = torch.sqrt(variance + epsilon), variance > epsilon
    return _Norm(module_path(node), node.args[0], mean, deviation, live, tuple(sorted(inputs)))


def _fits(module: Any, norms: Sequence[_Norm], given: Sequence[Sequence[Any]]) -> list[_Fit | None]:
    """How the data fits each of the norms; sums in float64, in units of training's deviations."""
    import torch

    # The module returns an output for every first norm; those asked for are a part of them.
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    places = [output.args[0].index(norm.fed_by) for norm in norms]
    sums = [torch.zeros(2, len(norm.mean), dtype=torch.float64) for norm in norms]
    counts = [0] * len(norms)
    for row in given:
        outputs = module(*row)
        for which, (norm, place) in enumerate(zip(norms, places, strict=True)):
            channels_last = outputs[place].detach().double().movedim(1, -1).reshape(-1, len(norm.mean))
            scaled = (channels_last - norm.mean) / norm.deviation
            sums[which] += torch.stack([scaled.sum(0), (scaled * scaled).sum(0)])
            counts[which] += len(scaled)
    return [_fit(norm, total, count) for norm, total, count in zip(norms, sums, counts, strict=True)]


def _fit(norm: _Norm, sums: Any, count: int) -> _Fit | None:
    mean, square = sums / max(1, count)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    # A channel that never varies, as pruned ones, says nothing either: what training left of it decays with the steps.
    votes = norm.live & (spread > _CONSTANT)
    if count < 2 or not bool(votes.any()):
        return None
    mean, spread = mean[votes], spread[votes]
    fit = _Fit(float(spread.quantile(0.5)), float(mean.abs().quantile(0.5)))
    return fit if math.isfinite(fit.spread) and math.isfinite(fit.offset) else None


def _changes(given: Sequence[Sequence[Any]], places: Sequence[int]) -> dict[str, Any]:
    """What people do to pictures, the plainest first, to try; each takes and returns one leaf."""
    import torch

    def only_floats(change: Any) -> Any:
        return lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf

    values = [
        row[i] for row in given for i in places if isinstance(row[i], torch.Tensor) and row[i].is_floating_point()
    ]
    if not values:
        return {}
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    count = sum(value.numel() for value in values)
    mean = sum(float(value.double().sum()) for value in values) / count
    deviation = math.sqrt(sum(float((value.double() - mean).square().sum()) for value in values) / count) or 1.0
    full = 255.0 if 128 < high <= 255 else high
    changes: dict[str, Any] = {}
    if low >= 0 and high > 1:
        changes[f"x / {full:.3g}"] = only_floats(lambda leaf: leaf / full)
        changes[f"x / {full / 2:.4g} - 1"] = only_floats(lambda leaf: leaf * 2 / full - 1)
    if low >= 0 and high <= 1:
        changes["x * 255"] = only_floats(lambda leaf: leaf * 255)
    changes[f"(x - {mean:.3g}) / {deviation:.3g}"] = only_floats(lambda leaf: (leaf - mean) / deviation)
    return changes


def _described(name: str, leaves: Sequence[Any]) -> str:
    """``image spans 0 to 255, mean 131, whole numbers``."""
    arrays = [leaf.detach().double().cpu().numpy() for leaf in leaves if hasattr(leaf, "detach")]
    low, high = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    mean = sum(float(array.sum()) for array in arrays) / sum(array.size for array in arrays)
    whole = ", whole numbers" * all(bool((array == np.round(array)).all()) for array in arrays)
    return f"{name} spans {low:.3g} to {high:.3g}, mean {mean:.3g}{whole}"


def _is_raw(array: Array) -> bool:
    """Whether these look like pixels of 0 to 255 that became floats."""
    return bool(2 < array.max(initial=0) <= 255 and array.min(initial=0) >= 0 and (array == np.round(array)).all())


def _times(factor: float) -> str:
    if 0.95 <= factor <= 1.05:
        return "about"
    return f"{factor:.3g} times" if factor >= 1 else f"1/{1 / max(factor, 1e-9):.3g} of"
