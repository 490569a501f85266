"""Open axes: a model is specialized for several sizes, and what differs between the steps becomes a formula.

The importer knows one size of everything (:mod:`converters.onnx_import.specialize`), so a size that stays open is
found by comparison: the steps must be the same for every size, and a constant that is not (the operand of a Reshape, a
class token once per sample, a mask) must follow the sizes by a rule that holds at all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from converters.onnx_import import moving
from converters.onnx_import.specialize import Plan, Step, Value
from edgekit.errors import EdgekitError, UnsupportedError, first_line
from edgekit.types import Signature

LARGEST_BATCH = 16
"""As for PyTorch models (:mod:`converters.pytorch.open_axes`): ExecuTorch plans its memory for the largest size."""
LARGEST_UNKNOWN = 512
"""Of another axis, where nothing tells the model's usual size."""
_BATCHES = (7, 3, 5)
"""The first is that of the program's example inputs: few networks have this size for another reason."""
_MOST_AXES = 3
_HINT = "Leave --dynamic out, or write the model with sizes that it computes from its inputs."

Point = Mapping[str, int]
"""A size for each open axis, by name."""


@dataclass(frozen=True)
class OpenAxis:
    """A size that stays open.

    Attributes:
        name: For messages, and in formulas.
        places: Where it is found: names of inputs, with an axis of each.
        largest: It is never larger.
        sizes: To specialize for: three or more, none below 2. The first is that of the example inputs.
    """

    name: str
    places: tuple[tuple[str, int], ...]
    largest: int
    sizes: tuple[int, ...]


def axes_of(
    signature: Signature, names: Mapping[str, Sequence[str]], usual: Mapping[str, Sequence[int]]
) -> list[OpenAxis]:
    """The axes that a signature leaves open.

    Axes are one size where the file gives them one name, or where they have the same number and the same usual size;
    all first axes are one, the batch.

    Args:
        signature: ``None`` for open axes.
        names: Of the axes of each input in the file, empty for those that have none.
        usual: Sizes that each input is used with: other axes than the first become no larger. Empty where nobody knows.

    Raises:
        UnsupportedError: More than three sizes.
    """
    groups: list[tuple[set[object], list[tuple[str, int]]]] = []
    for spec in signature.inputs:
        for axis in (axis for axis, size in enumerate(spec.shape) if size is None):
            labels: set[object] = {(axis, usual[spec.name][axis] if axis and spec.name in usual else None)}
            if names.get(spec.name) and names[spec.name][axis]:
                labels.add(names[spec.name][axis])
            same = [group for group in groups if group[0] & labels]
            groups = [group for group in groups if group not in same]
            joined = [place for _, places in same for place in places]
            groups.append((labels.union(*(known for known, _ in same)), [*joined, (spec.name, axis)]))
    if len(groups) > _MOST_AXES:
        shown = ", ".join(_name(places) for _, places in groups)
        raise UnsupportedError(
            f"{len(groups)} different sizes would stay open ({shown}), and edgekit keeps at most {_MOST_AXES} of an "
            "ONNX model open.",
            hint="Name fewer axes with --dynamic.",
        )
    return [_axis(places, usual) for _, places in groups]


def _name(places: Sequence[tuple[str, int]]) -> str:
    return "batch" if places[0][1] == 0 else ".".join(map(str, places[0]))


def _axis(places: Sequence[tuple[str, int]], usual: Mapping[str, Sequence[int]]) -> OpenAxis:
    bounds = [_bound(usual[name][axis]) if name in usual else LARGEST_UNKNOWN for name, axis in places if axis]
    return OpenAxis(_name(places), tuple(places), min(bounds, default=LARGEST_BATCH), _sizes(min(bounds, default=None)))


def _bound(usual: int) -> int:
    """The largest size of an axis; the check in other sizes takes larger ones of those that are tiny."""
    return usual if usual > 4 else usual + 4


def _sizes(largest: int | None) -> tuple[int, ...]:
    if largest is None:
        return _BATCHES
    # Halves and quarters: what the check in other sizes takes, and what strided layers divide.
    candidates = (largest, largest // 2, largest // 4, *range(largest - 1, 1, -1))
    return tuple(dict.fromkeys(size for size in candidates if size > 1))[:3]


def points(axes: Sequence[OpenAxis]) -> list[Point]:
    """The sizes to specialize for: all combinations of two per axis, a third to check, and the largest.

    The example inputs' own come first, the largest last.
    """
    names = [axis.name for axis in axes]
    found: list[Point] = [
        dict(zip(names, sizes, strict=True)) for sizes in itertools.product(*(axis.sizes[:2] for axis in axes))
    ]
    found.append({axis.name: axis.sizes[2] for axis in axes})
    found.append({axis.name: axis.largest for axis in axes})
    return found


def shapes_at(signature: Signature, axes: Sequence[OpenAxis], point: Point) -> dict[str, tuple[int, ...]]:
    """The shape of every input with these sizes for its open axes."""
    sizes = {place: point[axis.name] for axis in axes for place in axis.places}
    return {
        spec.name: tuple(sizes[spec.name, axis] if size is None else size for axis, size in enumerate(spec.shape))
        for spec in signature.inputs
    }


def dynamic_shapes(plan: Plan, axes: Sequence[OpenAxis]) -> tuple[dict[int, Any], ...] | None:
    """The open axes of a plan's inputs, as ``torch.export`` takes them; ``None`` where there are none."""
    from torch.export import Dim

    found: list[dict[int, Any]] = []
    for value in plan.inputs:
        own = {place: axis.largest for axis in axes for name, place in axis.places if name == value.name}
        found.append({place: Dim.DYNAMIC(min=1, max=largest) for place, largest in own.items()})
    return tuple(found) if any(found) else None


def join(plans: Sequence[Plan], at: Sequence[Point], axes: Sequence[OpenAxis]) -> Plan:
    """One plan for all sizes.

    Args:
        plans: Of the same model, one for each point.
        at: Of :func:`points`.
        axes: That are open.

    Returns:
        The first plan, with rules (:attr:`Value.rule`) for constants that depend on the sizes.

    Raises:
        UnsupportedError: Names the node that computes with a size as a number, and how.
    """
    joiner = _Joiner(plans, moving.Fit(tuple(axis.sizes[:2] for axis in axes), tuple(at)))
    return joiner.run()


class _Joiner:
    def __init__(self, plans: Sequence[Plan], fit: moving.Fit) -> None:
        self.plans, self.fit = plans, fit
        self.places: list[dict[Value, int]] = [
            {value: place for place, value in enumerate(plan.inputs)} for plan in plans
        ]

    def run(self) -> Plan:
        steps = []
        for same in itertools.zip_longest(*(plan.steps for plan in self.plans)):
            if any(step is None or not _same_call(same[0], step) for step in same):
                known = next(step for step in same if step is not None)
                raise refused(known, "the operators that it takes depend on a size that is to stay open")
            steps.append(self.step(same))
        for values in zip(*(plan.outputs for plan in self.plans), strict=True):
            self.output(values)
        return Plan(self.plans[0].inputs, self.plans[0].outputs, steps)

    def step(self, same: Sequence[Step]) -> Step:
        """One step of all plans."""
        first = same[0]
        operands: list[Value | None] = []
        for place in range(len(first.operands)):
            values = [step.operands[place] for step in same]
            operands.append(self.operand(same, place, values))
        for made in zip(*(step.outputs for step in same), strict=True):
            for places, value in zip(self.places, made, strict=True):
                if value is not None:
                    places.setdefault(value, len(places))
        return replace(first, operands=operands)

    def operand(self, same: Sequence[Step], place: int, values: Sequence[Value | None]) -> Value | None:
        """One operand of a step, with a rule where it differs between the sizes."""
        found = [value for value in values if value is not None]
        if not found:
            return None
        if len(found) < len(values) or len({value.constant for value in found}) > 1:
            raise refused(same[0], f"its operand {place} depends on a size that is to stay open")
        if not found[0].constant:
            if len({places[value] for places, value in zip(self.places, found, strict=True)}) > 1:
                raise refused(
                    same[0], f"which tensor it reads (operand {place}) depends on a size that is to stay open"
                )
            return found[0]
        fixed = moving.all_equal([value.tensor for value in found])
        if fixed and not (place == 1 and _is(same[0], "Reshape")):
            return found[0]
        rule = self.rule(same, place, found)
        if rule is None and fixed:
            return found[0]
        if rule is None:
            shown = "; ".join(str(moving.short(value.tensor)) for value in found[:3])
            what = f"its operand {place} ({found[0].name or 'computed'}) is no simple function of the sizes: {shown}"
            raise refused(same[0], what)
        known = rule.fixed()
        if known is not None:
            return Value(known, True, found[0].name)
        # No constant any more: what computes with constants at import must leave it alone.
        return Value(found[0].tensor, False, found[0].name, rule=rule)

    def rule(self, same: Sequence[Step], place: int, values: Sequence[Value]) -> moving.Rule | None:
        """How an operand follows the sizes; ``None`` where it does in no way that is known."""
        if place == 1 and (_is(same[0], "Reshape") or _is(same[0], "Expand")):
            before = [_shape(step.operands[0]) for step in same]
            after = [_shape(step.outputs[0]) for step in same]
            if _is(same[0], "Expand"):
                return moving.expanded(before, after, self.fit)
            return moving.reshaped(before, after, self.fit, zeros=not same[0].node.get("allowzero", 0))
        tensors = [value.tensor for value in values]
        return moving.numbers(tensors, self.fit) or moving.part(tensors, self.fit)

    def output(self, values: Sequence[Value]) -> None:
        tensors = [value.tensor for value in values]
        if values[0].constant and not moving.all_equal(tensors):
            raise UnsupportedError(
                f"Output {values[0].name!r} of the ONNX model is a function of its sizes alone, and one of them is to "
                "stay open.",
                hint=_HINT,
            )


def _is(step: Step, operator: str) -> bool:
    return step.operator.name == operator and not step.operator.domain


def _shape(value: Value | None) -> tuple[int, ...]:
    return () if value is None else tuple(value.tensor.shape)


def refused(step: Step, reason: str) -> UnsupportedError:
    """The error that names a node, and why a size cannot stay open there."""
    return UnsupportedError(
        f"The ONNX model fixes a size that is to stay open: node {step.node}: {reason}.", hint=_HINT
    )


def not_at(point: Point, error: EdgekitError) -> UnsupportedError:
    """The error of a model that does not fit together with these sizes."""
    shown = ", ".join(f"{name} {size}" for name, size in point.items())
    return UnsupportedError(
        f"The ONNX model fixes a size that is to stay open; with {shown}: {error.message}", hint=_HINT
    )


def not_traced(error: Exception) -> UnsupportedError:
    """The error of ``torch.export`` on a model with open axes."""
    return UnsupportedError(
        f"torch.export cannot keep these sizes of the ONNX model open: {type(error).__name__}: {first_line(error)}",
        hint=_HINT,
    )


def _same_call(one: Step, other: Step) -> bool:
    return (
        one.operator is other.operator
        and one.path == other.path
        and len(one.operands) == len(other.operands)
        and len(one.outputs) == len(other.outputs)
        and one.node.attributes.keys() == other.node.attributes.keys()
        and all(_same(value, other.node.attributes[name]) for name, value in one.node.attributes.items())
    )


def _same(one: Any, other: Any) -> bool:
    if hasattr(one, "dtype") and hasattr(other, "dtype") and hasattr(one, "shape"):
        return moving.all_equal([one, other])
    return one is other or bool(one == other)
