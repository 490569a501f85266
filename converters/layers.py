"""Layers as users name them, and the rules that give some of them a scheme of their own.

Each form lists its operators as :class:`Layer`; patterns, presets and rules mean the same on all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgekit.errors import UsageError
from edgekit.types import Rule

MOVES = frozenset(
    "cast concat expand gather identity pad permute reshape resize slice split squeeze stack transpose"
    " unsqueeze".split()
)
"""Kinds that move data and compute nothing."""


@dataclass(frozen=True)
class Layer:
    """One operator of a form.

    Attributes:
        path: Module path in the source model (``features.0.conv``); several joined by ``+`` where operators were
            fused; empty when unknown.
        kind: What it does, in one word for all formats: ``conv``, ``depthwise_conv``, ``linear``, ``softmax``…
        operator: Its type, as the format calls it.
        name: Unique within the form.
        inputs: Places of the layers that make its inputs, in the list it is in.
        weighted: Whether it has stored weights.
        is_output: Whether the model returns what it makes.
    """

    path: str
    kind: str
    operator: str
    name: str
    inputs: tuple[int, ...] = ()
    weighted: bool = False
    is_output: bool = False


def resolve(layers: Sequence[Layer], rules: Sequence[Rule], form: str) -> list[str | None]:
    """The scheme of each layer, ``None`` where no rule matches.

    Args:
        layers: Of a form, producers before consumers.
        rules: In order; the first that matches decides.
        form: Its title, for messages.

    Raises:
        UsageError: A rule matches no layer, or names no preset.
    """
    chosen: list[str | None] = [None] * len(layers)
    for rule in rules:
        places = matching(layers, rule.match)
        if not places:
            raise UsageError(f"{rule.match!r} matches no layer of the {form} form.", hint=_nearest(layers, rule.match))
        for place in places:
            chosen[place] = chosen[place] or rule.scheme
    return chosen


def matching(layers: Sequence[Layer], pattern: str) -> list[int]:
    """Places of the layers that a pattern matches.

    A pattern is compared with the module path and every path above it (``backbone`` matches all of it), with the kind
    and with the format's own operator type, the last two whatever their case.

    Raises:
        UsageError: It begins with ``@`` and is no preset.
    """
    if pattern.startswith("@"):
        if pattern not in PRESETS:
            raise UsageError(f"{pattern}: no such preset.", hint=f"There are {', '.join(PRESETS)}.")
        return PRESETS[pattern](layers)
    return [place for place, layer in enumerate(layers) if _matches(layer, pattern)]


def _matches(layer: Layer, pattern: str) -> bool:
    if any(fnmatchcase(word.lower(), pattern.lower()) for word in (layer.kind, layer.operator)):
        return True
    for path in filter(None, layer.path.split("+")):
        parts = path.split(".")
        if any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)):
            return True
    return False


def _nearest(layers: Sequence[Layer], pattern: str) -> str:
    words = dict.fromkeys(word for layer in layers for word in (*layer.path.split("+"), layer.kind) if word)
    near = difflib.get_close_matches(pattern, words, n=3, cutoff=0.5) or list(words)[:3]
    return f"There are {', '.join(near)}…   (edgekit inspect MODEL lists them all; presets: {', '.join(PRESETS)})"


def _first(layers: Sequence[Layer]) -> list[int]:
    """Layers with weights that no other such layer feeds."""
    below: list[bool] = []  # whether a layer with weights is at or above this place
    found = []
    for place, layer in enumerate(layers):
        fed = any(below[source] for source in layer.inputs)
        if layer.weighted and not fed:
            found.append(place)
        below.append(fed or layer.weighted)
    return found


def _feeding_weights(layers: Sequence[Layer]) -> list[bool]:
    """Whether what a layer makes reaches a layer with weights."""
    feeding = [False] * len(layers)
    for place in range(len(layers) - 1, -1, -1):
        if layers[place].weighted or feeding[place]:
            for source in layers[place].inputs:
                feeding[source] = True
    return feeding


def _last(layers: Sequence[Layer]) -> list[int]:
    """Layers with weights that feed no other such layer."""
    feeding = _feeding_weights(layers)
    return [place for place, layer in enumerate(layers) if layer.weighted and not feeding[place]]


def _last_activation(layers: Sequence[Layer]) -> list[int]:
    """Softmax and sigmoid at the end of the model, with nothing but data movement behind them."""
    ends = [layer.is_output for layer in layers]
    for place in range(len(layers) - 1, -1, -1):
        if ends[place] and layers[place].kind in MOVES:
            for source in layers[place].inputs:
                ends[source] = True
    kinds = ("softmax", "log_softmax", "sigmoid", "hardsigmoid")
    return [place for place, layer in enumerate(layers) if ends[place] and layer.kind in kinds]


def _detection_head(layers: Sequence[Layer]) -> list[int]:
    """All that comes behind the last layers with weights, where it ends in a concatenation."""
    feeding = _feeding_weights(layers)
    behind = [place for place, layer in enumerate(layers) if not layer.weighted and not feeding[place]]
    return behind if any(layers[place].kind == "concat" for place in behind) else []


PRESETS: dict[str, Callable[[Sequence[Layer]], list[int]]] = {
    "@first": _first,
    "@last": _last,
    "@last-activation": _last_activation,
    "@detection-head": _detection_head,
}
"""Names for the places that lose most in 8 bits."""
