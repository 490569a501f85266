"""Quantize a program for ExecuTorch, then lower it.

The one target whose runtime has no quantizer of its own format: the program is quantized before it is lowered, with
PT2E (:mod:`converters.executorch._pt2e`) or, for weights of 4 bits, torchao (:mod:`converters.executorch._blocks`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from converters import arrived
from converters.calibration import ranges as ranges_file
from converters.executorch import _blocks, _io, _pt2e
from converters.executorch.lower import write
from converters.graph import PTE, TORCH_EXPORT, StepResult
from converters.layers import MOVES, Layer, resolve
from converters.torch_export import logits, quantized
from converters.torch_export import program as programs
from converters.torch_export.layers import layers_of
from edgekit.errors import UnsupportedError
from edgekit.plugins import Step
from edgekit.types import Quantization, from_json

FORM = "ExecuTorch"
# Kinds that compute nothing of their own: they move, cut or clip values, or are fused into the layer before.
_SILENT = MOVES | {"relu", "clamp", "max_pool"}
_TAKEN = {
    "int8": "convolutions, Linear, add, mul and cat",
    "int8-dynamic": "Linear",
    "int4-weights": f"Linear whose inner size is a multiple of {_blocks.BLOCK}",
}
# What the operators of a program that arrives in a scheme look like: activations, bits of a weight.
_ARRIVES = {"int8": ("static", 8), "int8-dynamic": ("dynamic", 8), _blocks.INT4: ("dynamic", 4)}


@dataclass
class _Quantized:
    """A program on its way: with conversions between operators, ready to be exported and lowered."""

    module: Any
    args: tuple[Any, ...]
    layers: list[Layer]
    names: Set[str]  # of those of them that are quantized
    ranges: Mapping[str, tuple[float, float]]
    notes: list[str]
    against_rules: Sequence[Layer] = ()  # quantized though rules ask for float


def quantize(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Quantize a program and write a ``.pte``.

    A program that arrives quantized in this scheme is lowered as it is, unless rules ask for something else.

    Raises:
        UnsupportedError: Nothing in it can be quantized.
        ConversionError: A tensor has no range.
        UsageError: A rule matches nothing, or calibration ranges are needed and not given.
    """
    _quiet()
    exported, wanted = programs.load(source), from_json(Quantization, settings)
    made = _kept(exported, scheme, wanted, ranges) or _quantized(exported, scheme, wanted, ranges)
    return _written(exported, made, output, scheme, signature, wanted)


def lower_quantized(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Write the ``.pte`` of a program that is in this scheme already; what it computes in float stays float."""
    _quiet()
    exported = programs.load(source)
    made = _as_arrived(exported, {}, arrived.KEPT)
    return _written(exported, made, output, scheme, signature, Quantization())


def _quiet() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def _written(
    exported: Any, made: _Quantized, output: str, scheme: str, signature: Mapping[str, Any], wanted: Quantization
) -> StepResult:
    written: Mapping[str, Any] = signature
    if wanted.io == "int8":
        if scheme != "int8":
            raise UnsupportedError(f"{scheme} has float inputs and outputs.", hint="--int8 --io int8, or --io float")
        made.args, written = _io.to_integers(made.module, made.args, written, made.ranges)
    result = write(programs.export(made.module, made.args, programs.open_shapes(exported)), output, written)
    outside = {(item["operator"], item["name"]) for item in result["undelegated"]}
    result["stayed_float"] = _stayed_float(made, outside)
    if overruled := [layer for layer in made.against_rules if (layer.operator, _place(layer)) not in outside]:
        places = ", ".join(f"{layer.kind} at {_place(layer)}" for layer in overruled)
        made.notes.append(f"Between 8-bit layers XNNPACK computes in 8 bits, whatever is to stay float: {places}.")
    result["notes"] = [*made.notes, *result["notes"]]
    return result


def _kept(exported: Any, scheme: str, wanted: Quantization, ranges: str | None) -> _Quantized | None:
    """The program as it is, where it arrived in the scheme that is asked for."""
    found = quantized.quantized_operators(exported.module(check_guards=False))
    kinds = {(operator.activations, operator.weight_bits) for operator in found if operator.weight_bits}
    if wanted.rules or kinds != {_ARRIVES[scheme]}:
        return None
    given = ranges_file.needed(ranges, scheme).chosen(wanted.method) if ranges else {}
    note = "The program arrived quantized, and was kept as it is: neither its weights nor its ranges were changed."
    return _as_arrived(exported, given, note)


def _as_arrived(exported: Any, given: Mapping[str, tuple[float, float]], note: str) -> _Quantized:
    folded = quantized.fold_weights(exported)
    found = quantized.quantized_operators(folded.module(check_guards=False))
    module = folded.module(check_guards=False)
    _pt2e.give_each_layer_its_own(module)
    names = {operator.name for operator in found}
    return _Quantized(module, programs.example_inputs(folded), layers_of(folded), names, given, [note])


def _quantized(exported: Any, scheme: str, wanted: Quantization, ranges: str | None) -> _Quantized:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    exported, notes = quantized.to_float(exported)
    args = programs.example_inputs(exported)
    layers = layers_of(exported)
    schemes = _pt2e.schemes_of(layers, resolve(layers, wanted.rules, FORM), scheme)
    given: Mapping[str, tuple[float, float]] = {}
    fused: set[str] = set()
    if scheme == _blocks.INT4:
        exported, names, left = _blocks.quantize(exported, schemes)
        module = exported.module(check_guards=False)
        if left:
            places = ", ".join(_place(layer) for layer in layers if layer.name in left)
            notes.append(f"{places} stayed float: 4-bit layers need an inner size that {_blocks.BLOCK} divides.")
    else:
        module = exported.module(check_guards=False)
        if scheme == "int8":
            found = ranges_file.needed(ranges, scheme)
            shifted, said = logits.shift(module, schemes, found, wanted.method)
            given = {**found.chosen(wanted.method), **shifted}
            notes += said
        module = _pt2e.prepared(module, schemes)
        names = _pt2e.quantized_names(module)
        module(*args)  # the observers of weights and other constants see them
        if scheme == "int8":
            _pt2e.set_ranges(module, given)
        module = convert_pt2e(module)
        fused = _pt2e.fused_names(module) - names
        names |= fused
    if not names:
        what = "and these rules leave none to it." if wanted.rules else "and this model has none."
        raise UnsupportedError(
            f"{scheme} on ExecuTorch quantizes {_TAKEN[scheme]}, {what}",
            hint="--fp16 halves the file." if scheme == "int8" else "--int8 with --data FILE quantizes more.",
        )
    against_rules = [layer for layer in layers if layer.name in fused and schemes[layer.name] == "float32"]
    return _Quantized(module, args, layers, names, given, notes, against_rules)


def _stayed_float(made: _Quantized, outside: Set[tuple[str, str]]) -> list[dict[str, str]]:
    """What computes on float activations: what was not quantized, and what runs outside the delegate after all."""
    return [
        {"operator": layer.operator, "name": _place(layer)}
        for layer in made.layers
        if layer.operator.startswith("aten.")  # a program that arrived quantized has conversions among its layers
        and layer.kind not in _SILENT
        and (layer.name not in made.names or (layer.operator, _place(layer)) in outside)
    ]


def _place(layer: Layer) -> str:
    return layer.path or "(top)"


STEPS = (
    Step(
        name="PT2E quantize -> ExecuTorch",
        source=TORCH_EXPORT,
        target=PTE,
        schemes=(("float32", "int8"), ("float32", "int8-dynamic"), ("float32", "int4-weights")),
        entry="converters.executorch.quantize:quantize",
        preload=("torch", "executorch.exir"),
        packages=("executorch", "torchao"),
        extra="executorch",
        mixes={
            "int8": ("float32", "int8-dynamic"),
            "int8-dynamic": ("float32",),
            "int4-weights": ("float32", "int8-dynamic"),
        },
    ),
    Step(
        name="quantized torch.export -> ExecuTorch",
        source=TORCH_EXPORT,
        target=PTE,
        schemes=(("int8", "int8"), ("int8-dynamic", "int8-dynamic")),
        entry="converters.executorch.quantize:lower_quantized",
        preload=("torch", "executorch.exir"),
        packages=("executorch", "torchao"),
        extra="executorch",
    ),
)
