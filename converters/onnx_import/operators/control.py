"""Control flow and sequences: decided at import, where constants decide them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from converters.onnx_import.operators import INTERNAL, RefusalError, operator, registry

_MOST_ROUNDS = 2_000
"""Of a loop: each is all of its body."""


def _emit(specializer: Any, name: str, node: Any, operands: list[Any], **attributes: Any) -> Any:
    own = dataclasses.replace(node, attributes=attributes)
    return specializer.emit(registry()[INTERNAL, name], own, operands)


@operator("Stack", domain=INTERNAL)
def stack(node: Any, *operands: Any) -> Any:
    return torch.stack(operands, node.get("axis", 0))


@operator("Concat", domain=INTERNAL)
def concat(node: Any, *operands: Any) -> Any:
    return torch.cat(operands, node.get("axis", 0))


@operator("Choose", domain=INTERNAL)
def choose(node: Any, condition: Any, a: Any, b: Any) -> Any:
    return torch.where(condition.reshape(()), a, b)


@operator("Take", domain=INTERNAL)
def take(node: Any, x: Any) -> Any:
    """One place of an axis."""
    return torch.select(x, node.get("axis", 0), node.get("place"))


@operator("If", control=True)
def if_(node: Any, specializer: Any, scope: Any, condition: Any) -> Any:
    """Where data decides, both branches are computed, and one is chosen."""
    if condition.constant:
        name = "then_branch" if bool(condition.tensor.reshape(-1)[0]) else "else_branch"
        return specializer.run_body(node.get(name), [], scope, node.path)
    found = [specializer.run_body(node.get(name), [], scope, f"{node.path}.{name}") for name in
             ("then_branch", "else_branch")]  # fmt: skip
    results = []
    for a, b in zip(*found, strict=True):
        if a.tensor is None or b.tensor is None or a.tensor.shape != b.tensor.shape or a.tensor.dtype != b.tensor.dtype:
            raise RefusalError("data chooses between results of different shape")
        results += _emit(specializer, "Choose", node, [condition, a, b])
    return results


def _check_rounds(number: int) -> None:
    """Refuse what would be unrolled for hours."""
    if number >= _MOST_ROUNDS:
        raise RefusalError(f"it makes more than {_MOST_ROUNDS} rounds")


@operator("Loop", control=True)
def loop(node: Any, specializer: Any, scope: Any, trips: Any, condition: Any, *carried: Any) -> Any:
    """Unrolled; the number of rounds must be known, unless it has a limit: then what is too much is thrown away."""
    body = node.get("body")
    if trips is not None and not trips.constant:
        raise RefusalError("its trip count is not constant")
    limit = None if trips is None else int(trips.tensor.reshape(-1)[0])
    states, scans = list(carried), []
    going = condition
    number = 0
    while limit is None or number < limit:
        if going is not None and going.constant and not bool(going.tensor.reshape(-1)[0]):
            break
        if going is not None and not going.constant and len(body.outputs) > 1 + len(states):
            raise RefusalError("data decides how many rounds it makes")
        if going is not None and not going.constant and limit is None:
            raise RefusalError("data decides how many rounds it makes")
        _check_rounds(number)
        counter = specializer.constant(torch.tensor(number, dtype=torch.int64))
        given = going if going is not None else specializer.constant(torch.tensor(True))
        results = specializer.run_body(body, [counter, given, *states], scope, f"{node.path}.{number}")
        new = results[1 : 1 + len(states)]
        if going is not None and not going.constant:
            new = [_emit(specializer, "Choose", node, [going, a, b])[0] for a, b in zip(new, states, strict=True)]
            following = _emit(specializer, "And", node, [going, results[0]])[0]
        else:
            following = results[0]
        states, going = new, following
        scans.append(results[1 + len(states) :])
        number += 1
    outputs = list(states)
    for place in range(len(body.outputs) - 1 - len(states)):
        rounds = [items[place] for items in scans]
        if not rounds:
            raise RefusalError("it makes no round, so the shape of its results is not known")
        outputs += _emit(specializer, "Stack", node, rounds)
    return outputs


@operator("And", domain=INTERNAL)
def both(node: Any, a: Any, b: Any) -> Any:
    return torch.logical_and(a, b)


@operator("Scan", control=True)
def scan(node: Any, specializer: Any, scope: Any, *operands: Any) -> Any:
    """Unrolled: how many rounds it makes is a size."""
    body, count = node.get("body"), node.get("num_scan_inputs")
    if node.version < 9:
        return _scan_batched(node, specializer, scope, operands)
    states, data = list(operands[: len(operands) - count]), operands[len(operands) - count :]
    axes = node.get("scan_input_axes") or [0] * count
    return _scanned(node, specializer, scope, states, list(data), axes, body)


def _scanned(node: Any, specializer: Any, scope: Any, states: list[Any], data: list[Any], axes: list[int],
             body: Any) -> Any:  # fmt: skip
    outputs_count = len(body.outputs) - len(states)
    turned = node.get("scan_input_directions") or [0] * len(data)
    rounds = data[0].tensor.shape[axes[0]]
    _check_rounds(rounds - 1)
    collected: list[list[Any]] = []
    for number in range(rounds):
        parts = [
            _emit(specializer, "Take", node, [item], axis=axis, place=rounds - 1 - number if back else number)[0]
            for item, axis, back in zip(data, axes, turned, strict=True)
        ]
        results = specializer.run_body(body, [*states, *parts], scope, f"{node.path}.{number}")
        states = results[: len(states)]
        collected.append(results[len(states) :])
    made = []
    out_axes = node.get("scan_output_axes") or [0] * outputs_count
    backwards = node.get("scan_output_directions") or [0] * outputs_count
    for place in range(outputs_count):
        items = [found[place] for found in (reversed(collected) if backwards[place] else collected)]
        made += _emit(specializer, "Stack", node, items, axis=out_axes[place])
    return [*states, *made]


def _scan_batched(node: Any, specializer: Any, scope: Any, operands: Any) -> Any:
    """Opset 8: everything has a batch in front, and each sample is scanned on its own."""
    body, count = node.get("body"), node.get("num_scan_inputs")
    lengths, given = operands[0], list(operands[1:])
    if lengths is not None:
        raise RefusalError("with lengths of sequences")
    directions = node.get("directions")
    own = dataclasses.replace(node, attributes={"scan_input_directions": directions} if directions else {}, version=9)
    samples = []
    for sample in range(given[0].tensor.shape[0]):
        parts = [_emit(specializer, "Take", node, [item], axis=0, place=sample)[0] for item in given]
        split = len(parts) - count
        samples.append(_scanned(own, specializer, scope, parts[:split], parts[split:], [0] * count, body))
    return [_emit(specializer, "Stack", node, list(items))[0] for items in zip(*samples, strict=True)]


def _sequence(specializer: Any, items: list[Any]) -> Any:
    made = specializer.constant(None)
    made.sequence = items
    return [made]


def _place(value: Any, count: int) -> int:
    if value is None:
        return count
    if not value.constant:
        raise RefusalError("a place in a sequence is not constant")
    found = int(value.tensor.reshape(-1)[0])
    return found + count if found < 0 else found


@operator("SequenceEmpty", control=True)
def sequence_empty(node: Any, specializer: Any, scope: Any) -> Any:
    return _sequence(specializer, [])


@operator("SequenceConstruct", control=True)
def sequence_construct(node: Any, specializer: Any, scope: Any, *items: Any) -> Any:
    return _sequence(specializer, list(items))


@operator("SequenceAt", control=True)
def sequence_at(node: Any, specializer: Any, scope: Any, sequence: Any, place: Any) -> Any:
    return [sequence.sequence[_place(place, len(sequence.sequence))]]


@operator("SequenceLength", control=True)
def sequence_length(node: Any, specializer: Any, scope: Any, sequence: Any) -> Any:
    return [specializer.constant(torch.tensor(len(sequence.sequence), dtype=torch.int64))]


@operator("SequenceInsert", control=True)
def sequence_insert(node: Any, specializer: Any, scope: Any, sequence: Any, item: Any, place: Any = None) -> Any:
    items = list(sequence.sequence)
    items.insert(_place(place, len(items)), item)
    return _sequence(specializer, items)


@operator("SequenceErase", control=True)
def sequence_erase(node: Any, specializer: Any, scope: Any, sequence: Any, place: Any = None) -> Any:
    items = list(sequence.sequence)
    del items[_place(place, len(items)) if place is not None else -1]
    return _sequence(specializer, items)


@operator("ConcatFromSequence", control=True)
def concat_from_sequence(node: Any, specializer: Any, scope: Any, sequence: Any) -> Any:
    name = "Stack" if node.get("new_axis", 0) else "Concat"
    return _emit(specializer, name, node, sequence.sequence, axis=node.get("axis", 0))


@operator("SplitToSequence", control=True)
def split_to_sequence(node: Any, specializer: Any, scope: Any, x: Any, sizes: Any = None) -> Any:
    axis = node.get("axis", 0)
    whole = x.tensor.shape[axis]
    if sizes is None:
        if not node.get("keepdims", 1):
            items = [_emit(specializer, "Take", node, [x], axis=axis, place=place)[0] for place in range(whole)]
            return _sequence(specializer, items)
        chosen = [1] * whole
    elif not sizes.constant:
        raise RefusalError("its sizes are not constant")
    elif sizes.tensor.dim() == 0:
        each = int(sizes.tensor)
        chosen = [min(each, whole - start) for start in range(0, whole, each)]
    else:
        chosen = sizes.tensor.tolist()
    own = dataclasses.replace(node, outputs=[""] * len(chosen))
    return _sequence(specializer, _emit(specializer, "Split", own, [x], axis=axis, sizes=chosen))


@operator("Split", domain=INTERNAL)
def split(node: Any, x: Any) -> Any:
    return torch.split(x, node.get("sizes"), node.get("axis"))
