"""TFLite -> TFLite in another scheme, through LiteRT's own quantizer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.calibration import ranges as calibrated
from converters.facts import unchecked_reading
from converters.graph import TFLITE, StepResult
from converters.layers import MOVES, Layer, resolve
from converters.tflite import _file, _logits, _names, _recipes, layers
from converters.tflite._file import Model
from converters.tflite.borders import keep_integer, make_float
from converters.tflite.inspect import float_operators, operator_facts
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.plugins import Step
from edgekit.types import FloatOperator, Quantization, from_json, to_json

Range = tuple[float, float]


def quantize(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Quantize a float TFLite file; its signature keeps its names.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges come from
    :func:`converters.tflite.calibrate.calibrate`.

    Raises:
        UnsupportedError: There is nothing that the scheme could quantize, or integer borders are not possible.
        UsageError: A rule matches nothing, or ranges are missing.
        ConversionError: The quantizer failed, or the ranges belong to another file.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    from litert_quantizer import quantizer as litert

    asked = from_json(Quantization, settings)
    _refuse_borders(scheme, asked.io)
    with unchecked_reading(Path(source), "TFLite", "ai-edge-litert"):
        model = _file.read(Path(source))
        listed = layers.of(model)
    chosen = resolve(listed, asked.rules, "TFLite")
    if asked.io == "float":
        chosen = _with_moves_at_borders(listed, chosen)
    read = _ranges(ranges, scheme, chosen)
    model, shifted, shift_notes = _shifted(source, model, scheme, chosen, read, asked.method)
    statistics = None if read is None else _statistics(read, scheme, chosen, asked.method, model, shifted)
    quantizer = litert.Quantizer(_names.renamed(Path(source), model, changed=bool(shifted)))
    notes = _refusals(listed, chosen, _recipes.load(quantizer, model, scheme, chosen)) + shift_notes
    if not quantizer.get_quantization_recipe():
        raise _nothing(scheme, listed)
    try:
        quantizer.quantize(statistics, enable_progress_report=False).export_model(output)
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"LiteRT's quantizer: {type(error).__name__}: {first_line(error)}") from error
    if scheme in _recipes.STATIC_BITS:
        (keep_integer if asked.io == "int8" else make_float)(Path(output))
    if not any(item.scheme not in ("", "float32") for item in operator_facts(Path(output))):
        raise _nothing(scheme, listed)
    stayed = _stayed_float(Path(output), scheme)
    return {
        "stayed_float": [to_json(item) for item in stayed],
        "undelegated": [],
        "notes": [*notes, *_four_bit_notes(scheme, model, chosen, stayed)],
        "packages": ["litert-quantizer"],
    }


def _refuse_borders(scheme: str, io: str) -> None:
    if io != "int8" or scheme == "int8":
        return
    reason = "its activations are int16" if scheme == "int16x8" else "its activations are float"
    raise UnsupportedError(f"--io int8 does not go with {scheme} on TFLite: {reason}.", hint="--int8 --io int8")


def _with_moves_at_borders(listed: Sequence[Layer], chosen: Sequence[str | None]) -> list[str | None]:
    """Keep float what only moves data between a float border and a layer that a rule keeps float.

    Else the first layer, say, would be float behind a transposition in 8 bits, which loses what the rule is to save.
    """
    found = list(chosen)
    sources = [list(layer.inputs) for layer in listed]
    readers: list[list[int]] = [[] for _ in listed]
    for place, layer in enumerate(listed):
        for source in layer.inputs:
            readers[source].append(place)
    forwards = list(range(len(listed)))
    reads_input = [not layer.inputs for layer in listed]
    _move_with(listed, found, forwards, reads_input, sources, readers)
    _move_with(listed, found, forwards[::-1], [layer.is_output for layer in listed], readers, sources)
    return found


def _move_with(
    listed: Sequence[Layer],
    found: list[str | None],
    order: Sequence[int],
    at_border: Sequence[bool],
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
) -> None:
    """One direction of it, in place: ``order`` leads away from the border, ``before`` towards it."""
    moved: set[int] = set()  # nothing but moves between these and the border
    for place in order:
        free = listed[place].kind in MOVES and found[place] is None
        if free and (at_border[place] or before[place]) and moved.issuperset(before[place]):
            moved.add(place)
    for place in reversed(order):
        neighbours = [found[other] for other in after[place]]
        if place in moved and neighbours and not any(own in (None, *_recipes.STATIC_BITS) for own in neighbours):
            found[place] = "float32"


def _ranges(path: str | None, scheme: str, chosen: Sequence[str | None]) -> calibrated.Ranges | None:
    """The ranges; ``None`` for files in which all activations are float.

    Raises:
        UsageError: There are none, and they are needed.
    """
    static = [item for item in (scheme, *chosen) if item in _recipes.STATIC_BITS]
    return calibrated.needed(path, static[0]) if static else None


def _shifted(
    source: str,
    model: Model,
    scheme: str,
    chosen: Sequence[str | None],
    read: calibrated.Ranges | None,
    method: str,
) -> tuple[Model, dict[str, Range], list[str]]:
    """The model with its logits shifted where that pays, their new ranges, and notes."""
    if read is None or not read.shifted:
        return model, {}, []
    found, notes = _logits.shift(model, _names.activations(model), [own or scheme for own in chosen], read, method)
    return (_file.indexed(model.raw, Path(source).stat().st_size) if found else model), found, notes


def _statistics(
    read: calibrated.Ranges,
    scheme: str,
    chosen: Sequence[str | None],
    method: str,
    model: Model,
    shifted: Mapping[str, Range],
) -> dict[str, dict[str, Any]]:
    """What the quantizer calls the statistics of tensors.

    Raises:
        ConversionError: The ranges are of another file.
    """
    schemes = [own or scheme for own in chosen]
    found = read.chosen(method, 16)
    narrow = {**read.chosen(method, 8), **shifted}
    names = _names.activations(model)
    for item, own in zip(model.subgraphs[model.entry], schemes, strict=True):
        for tensor in (*item.inputs, *item.outputs) if own == "int8" else ():
            if tensor is not None and names.get(tensor.index) in narrow:
                found[names[tensor.index]] = narrow[names[tensor.index]]
    missing = [name for name in names.values() if name not in found]
    if missing:
        raise ConversionError(
            f"The calibration ranges are of another file: they lack {len(missing)} tensors, such as {missing[0]!r}.",
            hint="Calibrate again, with --data FILE.",
        )
    # Of the tensor's own rank: else the quantizer cannot fit them to a stored operand of a concatenation.
    ranks = {name: max(1, len(model.tensors[model.entry][index].shape)) for index, name in names.items()}
    return {
        name: {
            end: np.full((1,) * ranks.get(name, 1), value, np.float32) for end, value in (("min", low), ("max", high))
        }
        for name, (low, high) in found.items()
    }


def _stayed_float(path: Path, scheme: str) -> list[FloatOperator]:
    """What the scheme left out: operators that compute in float or, where all do, those with weights in float32."""
    if scheme in ("int8", "int16x8", "int8-dynamic"):
        return float_operators(path)
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        model = _file.read(path)
    return [
        FloatOperator(layer.operator, layer.path or layer.name)
        for layer, item in zip(layers.of(model), model.subgraphs[model.entry], strict=True)
        if layer.weighted and max(item.weights, key=lambda tensor: tensor.elements).dtype == "float32"
    ]


def _refusals(listed: Sequence[Layer], chosen: Sequence[str | None], refused: Sequence[int]) -> list[str]:
    """Says which layers cannot have what a rule gives them.

    Raises:
        UnsupportedError: A rule's scheme suits none of its layers.
    """
    notes = []
    for scheme in dict.fromkeys(chosen[place] for place in refused):
        asked = [place for place, own in enumerate(chosen) if own == scheme and listed[place].weighted]
        names = ", ".join(listed[place].path or listed[place].name for place in refused if chosen[place] == scheme)
        if set(asked) <= set(refused):
            kinds = ", ".join(dict.fromkeys(listed[place].kind for place in asked))
            raise UnsupportedError(
                f"A rule asks for {scheme} on {names}, which TFLite has for other layers only ({kinds} here).",
                hint='scheme = "int8-weights"',
            )
        notes.append(f"No {scheme} for {names}, whatever the rules say; they stayed float.")
    return notes


def _four_bit_notes(
    scheme: str, model: Model, chosen: Sequence[str | None], stayed: Sequence[FloatOperator]
) -> list[str]:
    notes = []
    others = Counter(item.operator for item in stayed if item.operator not in _recipes.FOUR_BITS)
    if scheme == "int4-weights" and others:
        counts = ", ".join(f"{kind} ({count})" for kind, count in others.items())
        notes.append(f"Four bits are for linear layers and embeddings; these kept float32 weights: {counts}.")
    operators = model.subgraphs[model.entry]
    whole = [
        item
        for item, own in zip(operators, chosen, strict=True)
        if (own or scheme) == "int4-weights" and item.kind in _recipes.FOUR_BITS and item.weights
    ]
    rows = sum(not _recipes.takes_blocks(item) for item in whole)
    if rows:
        notes.append(
            f"{rows} of {len(whole)} int4 layers have a scale per row, not per block: the length of their rows is no "
            f"multiple of {_recipes.BLOCK}."
        )
    return notes


def _nothing(scheme: str, listed: Sequence[Layer]) -> UnsupportedError:
    """The refusal of a file that would be as float as before; names the nearest scheme."""
    weighted = Counter(layer.kind for layer in listed if layer.weighted)
    has = ", ".join(f"{kind} ({count})" for kind, count in weighted.items()) or "none"
    needs = {"int4-weights": "linear layers and embeddings"}.get(scheme, "layers with weights")
    if scheme in _recipes.STATIC_BITS:
        needs = "operators that have an integer kernel"
    nearest = "--int8-weights" if scheme == "int4-weights" and weighted else "the float32 file"
    return UnsupportedError(
        f"{scheme} finds nothing to quantize on TFLite: it is for {needs}. Layers with weights here: {has}, those that "
        "rules keep float included.",
        hint=f"Take {nearest}; or drop the rule that keeps everything float.",
    )


_MIXES = ("float32", "float16", "int8-dynamic", "int8-weights", "int4-weights")

STEPS = (
    Step(
        name="quantize TFLite",
        source=TFLITE,
        target=TFLITE,
        schemes=tuple(
            ("float32", scheme)
            for scheme in ("float16", "int8", "int8-dynamic", "int8-weights", "int4-weights", "int16x8")
        ),
        entry="converters.tflite.quantize:quantize",
        preload=("litert_quantizer",),
        packages=("litert_quantizer", "ai_edge_litert"),
        extra="tflite",
        mixes={
            "float16": _MIXES,
            "int8-dynamic": _MIXES,
            "int8-weights": _MIXES,
            "int4-weights": _MIXES,
            "int8": (*_MIXES, "int8", "int16x8"),
            "int16x8": (*_MIXES, "int8", "int16x8"),
        },
    ),
)
