"""Evidence on why a quantized file drifts, gathered on the program it was made from. Words are edgekit.causes'."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters import layers as named_layers
from converters.calibration import methods
from converters.calibration import ranges as ranges_file
from converters.calibration.ranges import Collector
from converters.layers import Layer
from converters.torch_export import evidence
from converters.torch_export import program as programs
from converters.torch_export.eight_bits import Range, Simulation, is_float, walk
from converters.torch_export.layers import layers_of
from converters.torch_export.logits import logits_of
from converters.torch_export.simulate import LayerSqnr, Samples, layer_sqnr, output_sqnr
from edgekit import feeds as feeds_files
from edgekit.types import Quantization, from_json

SAMPLES = 32
"""To look at tensor by tensor."""
_TRIED_SAMPLES = 8
"""To try each exception on."""

_COLLAPSED_DB = 10.0
"""A tensor below this has more error than a tenth of its signal's power."""
_DROP_DB = 6.0
"""A layer that loses this much doubles the error, measured against the signal."""

_WITHOUT_ERROR_DB = 50.0
"""Where nothing was lost yet: 256 levels, evenly used, have 48 dB, so quantizing itself is no loss to speak of."""


@dataclass(frozen=True)
class _Drop:
    """What a layer loses: SQNR of its worst input and of itself, in dB; ``None`` before stands for no error."""

    path: str
    kind: str
    node: str
    sqnr_before: float | None
    sqnr_after: float
    dead: bool

    @property
    def lost_db(self) -> float:
        before = _WITHOUT_ERROR_DB if self.sqnr_before is None else self.sqnr_before
        return before - self.sqnr_after


def gather(
    source: str, feeds: str, ranges: str | None, settings: dict[str, object], scheme: str = "int8"
) -> dict[str, Any]:
    """Look for what makes a quantized file drift.

    Args:
        source: Path of the program.
        feeds: Feeds folder with the calibration samples.
        ranges: Ranges file of the program's form; ``None`` takes them from some of the samples.
        settings: :class:`edgekit.types.Quantization` as JSON.
        scheme: Of the file. What only 8-bit activations can lose is looked for with ``int8`` alone.

    Returns:
        Plain data, each key empty where there is nothing:

        - ``outliers``: inputs with single samples far larger than the others: ``input``, ``places``, ``samples``
          (their number), ``of``, ``largest`` and ``usual`` magnitude (as text).
        - ``not_finite``: tensors with NaN or infinity: ``path``, ``kind``, ``node``, ``values``.
        - ``huge_constants``: ``path``, ``kind``, ``operator``, ``node``, ``value`` (as text),
          ``upstream`` (of the collapse).
        - ``wasted``: tensors that use few of their 255 steps: ``path``, ``kind``, ``node``, ``range``, ``seen``,
          ``steps``.
        - ``mixed``: concatenations of different ranges: ``path``, ``node``, ``inputs`` (ranges), ``is_output``,
          ``upstream``, ``preset`` (whether ``@detection-head`` matches it).
        - ``depthwise``: ``path``, ``ratio`` of the largest to the least channel, ``lost`` channels of ``channels`` that
          one scale for all would leave under 5 steps.
        - ``first_collapse`` and ``worst``: ``path``, ``kind``, ``node``, ``sqnr_before``, ``sqnr_after``, ``dead``.
        - ``simulated_db``: worst output in simulated int8; ``None`` where it was not simulated.
        - ``cures``: what keeping layers float brings: ``exclude`` (patterns), ``sqnr_db``, ``layers``, best first.
    """
    exported = programs.load(source)
    module = exported.module(check_guards=False)
    data, quantization = feeds_files.read(Path(feeds)), from_json(Quantization, settings)
    outliers, strange = evidence.outliers(data)
    usual = [place for place in range(data.count) if place not in strange]
    samples = Samples(data, _spread(usual, SAMPLES))
    if ranges is None:
        with_strange = sorted({*samples.indices, *_spread(sorted(strange), SAMPLES)})
        chosen, not_finite = _ranges(module, Samples(data, with_strange), quantization.method)
    else:
        found = ranges_file.read(Path(ranges))
        chosen = found.chosen(quantization.method)
        not_finite = {name: item.not_finite for name, item in found.tensors.items() if item.not_finite}
    layers = layers_of(module)
    nodes = {node.name: node for node in module.graph.nodes}
    gathered: dict[str, Any] = {
        "outliers": outliers,
        "not_finite": evidence.not_finite(not_finite, nodes),
        "depthwise": evidence.depthwise(module),
        "huge_constants": evidence.huge_constants(module),
        "wasted": [],
        "mixed": [],
        "first_collapse": None,
        "worst": [],
        "simulated_db": None,
        "cures": [],
    }
    if scheme != "int8":
        return gathered
    kept = _kept_float(layers, quantization)
    measured = layer_sqnr(module, chosen, samples, kept)
    drops = _drops(nodes, measured)
    collapse = next((drop for drop in drops if drop.dead or _collapses(drop)), None)
    upstream = _upstream(nodes, collapse)
    gathered["wasted"] = evidence.wasted(measured)
    gathered["mixed"] = [
        {**item, "upstream": item["node"] in upstream} for item in evidence.mixed(module, layers, chosen, kept)
    ]
    gathered["huge_constants"] = [{**item, "upstream": item["node"] in upstream} for item in gathered["huge_constants"]]
    gathered["first_collapse"] = None if collapse is None else asdict(collapse)
    gathered["worst"] = [asdict(drop) for drop in sorted(drops, key=lambda drop: -drop.lost_db)[:3]]
    tried = Samples(data, _spread(samples.indices, _TRIED_SAMPLES))
    now = output_sqnr(module, chosen, tried, kept)
    gathered["simulated_db"] = _finite(now)
    gathered["cures"] = _cures(
        module, layers, chosen, tried, kept, now, [gathered["first_collapse"], *gathered["worst"]]
    )
    return gathered


def _spread(places: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the places, from first to last."""
    if not places:
        return []
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return [places[place] for place in chosen]


def _ranges(module: Any, samples: Samples, method: str) -> tuple[dict[str, Range], dict[str, int]]:
    """Ranges by node as calibration would take them, and how many values were not finite where any were.

    Of the methods that search, which takes seconds per tensor, none is run: the better of extremes and percentile
    stands for them.
    """
    name, percentile = methods.parse(method)
    collector, plain = Collector(logits_of(module)), Simulation(module, None)
    for sample in samples:
        for node, value in walk(plain, sample):
            if node.op in ("placeholder", "call_function") and node not in plain.constants and is_float(value):
                collector.add(node.name, value.float().numpy())
    chosen = {}
    for node_name, statistics in collector.tensors.items():
        found = {"minmax": methods.minmax(statistics)}
        if name != "minmax":
            found["percentile"] = methods.by_percentile(statistics, percentile)
        best = found[name if name in found else methods.best(found, statistics)]
        chosen[node_name] = methods.with_room(best, statistics)
    return chosen, {key: item.not_finite for key, item in collector.tensors.items() if item.not_finite}


def _kept_float(layers: Sequence[Layer], quantization: Quantization) -> list[str]:
    """Names of the nodes that the user's rules keep float; a rule that only the target's form knows does nothing."""
    schemes: dict[int, str] = {}
    for rule in quantization.rules:
        for place in named_layers.matching(layers, rule.match):
            schemes.setdefault(place, rule.scheme)
    return [layers[place].name for place, scheme in schemes.items() if scheme == "float32"]


def _drops(nodes: Mapping[str, Any], measured: Sequence[LayerSqnr]) -> list[_Drop]:
    """Each quantized tensor with the worst SQNR among those it is computed from, in order of execution."""
    own = {name: entry for entry in measured for name in (entry.node, entry.tensor)}
    worst: dict[Any, float] = {}  # of each node; infinite where it has no error
    found = []
    for node in nodes.values():
        before = min((worst.get(item, math.inf) for item in node.all_input_nodes), default=math.inf)
        entry = own.get(node.name)
        if entry is None:
            worst[node] = before
            continue
        after = _sqnr(entry)
        worst[node] = after
        if entry.node != node.name or not math.isfinite(after):
            continue
        dead = entry.simulated_low == entry.simulated_high and entry.low < entry.high
        if entry.quantized:
            start = before if math.isfinite(before) else None
            found.append(_Drop(evidence.named(entry.path), entry.kind, entry.node, start, after, dead))
    return found


def _sqnr(entry: LayerSqnr) -> float:
    if entry.sqnr_db is not None:
        return entry.sqnr_db
    return 0.0 if entry.noise and math.isfinite(entry.noise) else -999.0 if entry.noise else math.inf


def _collapses(drop: _Drop) -> bool:
    return drop.sqnr_after < _COLLAPSED_DB and drop.lost_db >= _DROP_DB


def _upstream(nodes: Mapping[str, Any], collapse: _Drop | None) -> set[str]:
    """Names of the nodes that the collapsed one is computed from, and its own."""
    todo = [] if collapse is None else [nodes[collapse.node]]
    found: set[str] = set()
    while todo:
        node = todo.pop()
        if node.name not in found:
            found.add(node.name)
            todo.extend(node.all_input_nodes)
    return found


def _cures(
    module: Any,
    layers: Sequence[Layer],
    ranges: Mapping[str, Range],
    samples: Samples,
    kept: Sequence[str],
    now: float,
    suspects: Sequence[Mapping[str, Any] | None],
) -> list[dict[str, Any]]:
    """What the worst output gains when layers stay float: tried, not guessed."""
    tries = [[_pattern(item)] for item in suspects if item is not None and item["kind"] != "input"]
    tries += [_with_makers(item, layers) for item in suspects[:1] if item is not None]
    tries += [[preset] for preset in named_layers.PRESETS]
    found = []
    for patterns in dict.fromkeys(map(tuple, tries)):
        places = {place for pattern in patterns for place in named_layers.matching(layers, pattern)}
        if not places or len(places) == len(layers):
            continue
        gained = output_sqnr(module, ranges, samples, {*kept, *(layers[place].name for place in places)})
        if gained > now + _DROP_DB / 2:
            found.append({"exclude": list(patterns), "sqnr_db": _finite(gained), "layers": len(places)})
    return sorted(found, key=lambda item: -item["sqnr_db"])


def _with_makers(item: Mapping[str, Any], layers: Sequence[Layer]) -> list[str]:
    """Patterns of a layer and of those that make its inputs: a tensor is float when neither end quantizes it."""
    patterns, todo = [_pattern(item)], [layer for layer in layers if layer.name == item["node"]]
    while todo:
        for maker in (layers[place] for place in todo.pop().inputs):
            pattern = maker.path or maker.kind
            if pattern not in patterns:
                patterns.append(pattern)
            if maker.kind in named_layers.MOVES:
                todo.append(maker)
    return patterns


def _pattern(item: Mapping[str, Any]) -> str:
    return str(item["path"] or item["kind"])


def _finite(value: float) -> float:
    """For JSON, which has no infinity."""
    return float(min(max(value, -999.0), 999.0)) if abs(value) == math.inf else float(value)
