"""The steps of a model as a ``torch.nn.Module``: one small module per step, under the path of its node."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from converters.onnx_import.open_axes import OpenAxis, refused
from converters.onnx_import.operators import RefusalError
from converters.onnx_import.specialize import Plan, Step, Value, argument

Sizes = Mapping[str, Any]
"""Those that stay open, by name: numbers, and ``torch.SymInt`` under ``torch.export``."""


class Call(torch.nn.Module):  # type: ignore[misc]
    """One step; its constants are buffers of it."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self._function, self._node = step.operator.function, step.node
        self._pattern: list[tuple[str, Any]] = []
        for place, value in enumerate(step.operands):
            if value is None:
                self._pattern.append(("fixed", None))
                continue
            if value.rule is not None:
                self._pattern.append(self._moving(step, place, value))
                continue
            given = argument(step.operator, step.operands, place)
            if not isinstance(given, torch.Tensor):
                self._pattern.append(("fixed", given))
            elif value.constant:
                self._pattern.append(("stored", self._store(value, place)))
            else:
                self._pattern.append(("data", None))

    def _store(self, value: Value, place: int, tensor: torch.Tensor | None = None) -> str:
        name = re.sub(r"\W", "_", value.name) or f"constant_{place}"
        while hasattr(self, name):
            name += "_"
        self.register_buffer(name, value.tensor if tensor is None else tensor)
        return name

    def _moving(self, step: Step, place: int, value: Value) -> tuple[str, Any]:
        """How an operand is made that follows the open sizes.

        Raises:
            UnsupportedError: The operator does not take it in that form.
        """
        rule, operator = value.rule, step.operator
        kept = rule.kept()
        if kept is None:
            if place in operator.static or place in operator.known:
                return "numbers", rule
            if place in operator.scalars and value.tensor.numel() == 1:
                return "number", rule
            raise refused(step, f"it computes with sizes as data (operand {place})")
        if place in operator.static:
            raise refused(step, f"its operand {place} must be constant")
        return "part", (rule, self._store(value, place, kept))

    def _argument(self, kind: str, given: Any, data: Any, sizes: Sizes) -> Any:
        if kind == "data":
            return next(data)
        if kind == "stored":
            return getattr(self, given)
        if kind == "numbers":
            return given.number(sizes)
        if kind == "number":
            return given.number(sizes).item()
        if kind == "part":
            return given[0].tensor(sizes, getattr(self, given[1]))
        return given

    def forward(self, *data: torch.Tensor, sizes: Sizes) -> tuple[torch.Tensor | None, ...]:
        """Call the operator on the data among its operands."""
        rest = iter(data)
        arguments = [self._argument(kind, given, rest, sizes) for kind, given in self._pattern]
        results = self._function(self._node, *arguments)
        return tuple(results) if isinstance(results, (tuple, list)) else (results,)


class Imported(torch.nn.Module):  # type: ignore[misc]
    """A model: takes its inputs in order, returns a tuple of its outputs.

    Args:
        plan: Its steps.
        axes: Sizes that stay open.

    Attributes:
        paths: Of the steps, by that of the modules that call them.
    """

    def __init__(self, plan: Plan, axes: Sequence[OpenAxis] = ()) -> None:
        super().__init__()
        places: dict[Value, int] = {value: place for place, value in enumerate(plan.inputs)}
        names = [value.name for value in plan.inputs]
        self._axes = {axis.name: [(names.index(name), place) for name, place in axis.places] for axis in axes}
        self._count = len(plan.inputs)
        self.paths: dict[str, str] = {}
        self._calls: list[tuple[Call, list[int], list[int | None]]] = []
        for step in plan.steps:
            call, own = _put(self, step.path, Call(step))
            self.paths[own] = step.path
            data = [places[value] for value in step.operands if value is not None and _is_data(value)]
            made: list[int | None] = []
            for value in step.outputs:
                if value is not None and value not in places:
                    places[value] = len(places)
                    made.append(places[value])
                else:
                    made.append(None)
            self._calls.append((call, data, made))
        self._results: list[int | str] = []
        for number, value in enumerate(plan.outputs):
            if value.constant:
                self.register_buffer(f"constant_output_{number}", value.tensor)
            self._results.append(f"constant_output_{number}" if value.constant else places[value])

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the outputs.

        Raises:
            UnsupportedError: An operator computes with an open size as a number, under ``torch.export``.
        """
        values: dict[int, Any] = dict(enumerate(inputs))
        sizes = {name: inputs[places[0][0]].shape[places[0][1]] for name, places in self._axes.items()}
        every = [inputs[place].shape[axis] for places in self._axes.values() for place, axis in places]
        for call, data, made in self._calls:
            try:
                results = call(*(values[item] for item in data), sizes=sizes)
            except RefusalError as refusal:
                raise refused(call.step, str(refusal)) from refusal
            _refuse_fixed(call.step, every)
            for place, result in zip(made, results, strict=False):
                if place is not None:
                    values[place] = result
        return tuple(self._result(place, values) for place in self._results)

    def _result(self, place: int | str, values: dict[int, Any]) -> torch.Tensor:
        if isinstance(place, str):
            stored: torch.Tensor = getattr(self, place).clone()
            return stored
        value: torch.Tensor = values[place]
        return value.clone() if place < self._count else value


def _is_data(value: Value) -> bool:
    return not value.constant and value.rule is None


def _refuse_fixed(step: Step, sizes: Sequence[Any]) -> None:
    """Name the step after which ``torch.export`` takes a symbol for a number."""
    for size in sizes:
        fixed = size.node.maybe_as_int() if isinstance(size, torch.SymInt) else None
        if fixed is not None:
            raise refused(step, f"torch computes it for the size {fixed} alone")


def _put(root: torch.nn.Module, path: str, call: Call) -> tuple[Call, str]:
    """Register a call below a path, with modules for the parts above it; taken names get a number.

    Returns:
        The call, and its path in the module.
    """
    parts = [re.sub(r"\W", "_", part) or "_" for part in path.split(".")]
    parent, own = root, []
    for part in parts[:-1]:
        own.append(_free(parent, part, reuse=True))
        if own[-1] not in parent._modules:
            parent.add_module(own[-1], torch.nn.Module())
        parent = parent.get_submodule(own[-1])
    own.append(_free(parent, parts[-1], reuse=False))
    parent.add_module(own[-1], call)
    return call, ".".join(own)


def _free(parent: torch.nn.Module, wanted: str, *, reuse: bool) -> str:
    wanted = f"{wanted}_" if keyword.iskeyword(wanted) else wanted
    name, count = wanted, 1
    while hasattr(parent, name) and not (reuse and name in parent._modules):
        name, count = f"{wanted}_{count}", count + 1
    return name
