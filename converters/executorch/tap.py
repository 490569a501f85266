"""``--layers`` on a ``.pte``: its inner tensors as outputs, those inside XNNPACK delegates included.

ExecuTorch's own tap (``executorch.devtools.intermediate_output_tap``) wants the network and lowers it once more, which
makes another file. Here the file itself is changed, in what it returns alone: a delegate gets arguments to write its
inner values to, and every tensor outside gets memory of its own, so that it is still there when the method ends.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from converters import tapping
from converters.executorch._editing import Editor
from converters.executorch._exposed import LARGEST
from converters.executorch._program import Program
from converters.executorch._walk import Made, Walk
from converters.facts import unchecked_reading
from converters.graph import PTE
from converters.tapping import Row, Tapped
from edgekit.plugins import Tap

_TYPES = {
    "float32": "FLOAT", "float16": "HALF", "int8": "CHAR", "uint8": "BYTE", "int32": "INT",
}  # fmt: skip


def tap(path: str, into: str, exact: bool) -> Tapped:
    """Write a ``.pte`` whose inner tensors are outputs. Runs in a child; needs neither torch nor executorch.

    The file does not say what its tensors are called. They get names of what makes them: module of the source, type of
    the operator, shape, and number among those with the same; so the float and the quantized file of a network mostly
    have the same names.

    Args:
        path: The file.
        into: To write.
        exact: Leave out what XNNPACK computes together with what follows: operators before a clamp of their own, and
            padding before a convolution.

    Returns:
        As :class:`edgekit.plugins.Tap` says.

    Raises:
        ConversionError: The file is truncated or damaged.
        UnsupportedError: It has nothing inside, or what is inside cannot be looked at.
    """
    with unchecked_reading(Path(path), "ExecuTorch", "executorch"):
        program = Program(Path(path))
        method = program.methods[0]
        walk = Walk(program, method)
        editor = Editor(program, method)
        chosen, notes = _chosen(walk, exact)
        indices = _shown(editor, walk, chosen)
        rows = _rows(editor, walk, chosen, indices)
        tapping.check_any(rows, path)
        editor.write(Path(into))
    return {"taps": rows, "notes": notes}


def _chosen(walk: Walk, exact: bool) -> tuple[list[Made], list[str]]:
    """What is tapped, and what to say of what is not."""
    names = _names(walk.made)
    fused = {index: inside.fused() if exact else set() for index, inside in walk.delegates.items()}
    room = {index: LARGEST - walk.arguments[index] for index in walk.delegates}
    left: dict[str, list[str]] = {"numbers": [], "fused": [], "room": []}
    chosen = []
    for item in walk.made:
        if item.dtype not in tapping.DTYPES:
            left["numbers"].append(names[item.key])
        elif not item.reads:
            continue  # made of weights alone
        elif item.hidden is None:
            chosen.append(item)
        elif item.hidden.value.index in fused[item.hidden.delegate]:
            left["fused"].append(names[item.key])
        elif room[item.hidden.delegate] == 0:
            left["room"].append(names[item.key])
        else:
            room[item.hidden.delegate] -= 1
            chosen.append(item)
    notes = tapping.left_out("they are quantized row by row, or no numbers of NumPy's", left["numbers"])
    notes += tapping.left_out("XNNPACK computes them together with what follows", left["fused"])
    notes += tapping.left_out(f"a delegate has at most {LARGEST} inputs and outputs", left["room"])
    return chosen, notes + _other_notes(walk, chosen)


def _other_notes(walk: Walk, chosen: list[Made]) -> list[str]:
    notes = tapping.bytes_note(sum(map(_size, chosen)))
    if walk.branches:
        notes.append("It decides at run time what it runs; only what comes before the first decision is looked at.")
    if len(walk.program.methods) > 1:
        notes.append(f"It has several methods; its layers are those of {walk.plan.text('name')!r}.")
    return notes


def _shown(editor: Editor, walk: Walk, chosen: list[Made]) -> list[int]:
    """Make tensors keep their content; returns the method's value of each."""
    inside: dict[int, list[Made]] = {}
    for item in chosen:
        if item.hidden is not None:
            inside.setdefault(item.hidden.delegate, []).append(item)
    added: dict[str, int] = {}
    instructions = editor.instructions()
    for delegate, items in inside.items():
        values = [item.hidden.value.index for item in items if item.hidden is not None]
        editor.set_delegate(delegate, walk.delegates[delegate].exposing(values, walk.arguments[delegate]))
        for item in items:
            added[item.key] = editor.add_tensor(_TYPES[item.dtype], item.shape, _size(item), item.dynamic)
            if item.hidden is not None:
                instructions[item.hidden.instruction].items("args").append(added[item.key])
    for item in chosen:
        if item.view_of is not None and item.index is not None:
            editor.share(item.index, item.view_of)
        elif item.index is not None:
            editor.move(item.index, _size(item))
    for view, owner in walk.views.items():
        editor.share(view, owner)
    return [added[item.key] if item.index is None else item.index for item in chosen]


def _rows(editor: Editor, walk: Walk, chosen: list[Made], indices: list[int]) -> list[Row]:
    """Return the tensors, and say so."""
    signature = editor.signature()
    outputs: list[int] = editor.plan.items("outputs")
    called = [item["name"] for item in signature["outputs"]] if signature else []
    called += [f"output_{place}" for place in range(len(called), len(outputs))]
    names = _names(walk.made)
    inputs = [item["name"] for item in signature["inputs"]] if signature else []
    for place, index in enumerate(walk.plan.integers("inputs")):
        names[str(index)] = inputs[place] if place < len(inputs) else f"input_{place}"
    by_key = {item.key: item for item in walk.made}
    shown = {item.key for item in chosen} | {str(index) for index in walk.plan.integers("inputs")}

    def behind(key: str) -> tuple[str, ...]:
        return by_key[key].reads if key in by_key else ()

    rows: list[Row] = []
    for item, index in zip(chosen, indices, strict=True):
        scale, zero_point = walk.scales.get(item.key, (None, None)) if item.dtype in ("int8", "uint8") else (None, None)
        shape: list[int | None] = [None if item.dynamic else size for size in item.shape]
        if index not in outputs:
            outputs.append(index)
            name = tapping.unused(names[item.key], called) if signature else f"output_{len(called)}"
            called.append(name)
            if signature:
                entry = {"name": name, "shape": shape, "dtype": item.dtype, "scale": scale, "zero_point": zero_point}
                signature["outputs"].append(entry)
        source = by_key.get(item.reads[0]) if item.converts and item.reads else None
        rows.append(
            {
                "output": called[outputs.index(index)],
                "tensor": names[item.key],
                "operator": item.operator,
                "module": item.module,
                "inputs": [names[key] for key in tapping.sources(behind(item.key), shown, behind)],
                "scale": scale,
                "zero_point": zero_point,
                "shape": shape,
                "dtype": item.dtype,
                "twin": names[source.key] if source else names[item.key],
            }
        )
    if signature:
        editor.set_signature(signature)
    return rows


def _names(made: list[Made]) -> dict[str, str]:
    """By key; the same for the same network in other numbers, where it was lowered the same way."""
    counts: Counter[str] = Counter()
    names = {}
    for item in made:
        name = f"{item.module}/" * bool(item.module) + f"{item.kind}_{'x'.join(map(str, item.shape))}"
        names[item.key] = f"{name}_{counts[name]}"
        counts[name] += 1
    return names


def _size(item: Made) -> int:
    """In bytes."""
    return int(np.prod(item.shape, dtype=np.int64)) * np.dtype(item.dtype).itemsize


TAP = Tap(
    form=PTE,
    entry="converters.executorch.tap:tap",
    preload=(),
    packages=("executorch", "flatbuffers"),
    extra="executorch",
)
