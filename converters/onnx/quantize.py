"""ONNX -> ONNX in another scheme, for ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.calibration import ranges as calibrated
from converters.graph import ONNX, StepResult
from converters.onnx import _io as io
from converters.onnx import _logits
from converters.onnx import _prepare as preparation
from converters.onnx import _static as static
from converters.onnx import _weight_only as weight_only
from converters.onnx._graph import sort
from converters.onnx.layers import layers_of
from edgekit.errors import UnsupportedError
from edgekit.plugins import Step
from edgekit.types import FloatOperator, Quantization, from_json, to_json

_BITS = {"int8": 8, "int16x8": 16}
_WEIGHTS = ("int8-weights", "int4-weights")


def quantize(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Quantize a float ONNX file; the contract is :class:`converters.graph.StepArguments`.

    Raises:
        ConversionError: The quantizer refused, or ranges are missing.
        UnsupportedError: There is nothing to quantize, or the scheme has no integer inputs and outputs.
        UsageError: A rule matches nothing, or a scheme with calibration came without.
    """
    logging.disable(logging.WARNING)
    wanted = from_json(Quantization, settings)
    if wanted.io == "int8" and scheme != "int8":
        raise UnsupportedError(
            f"{scheme} on ONNX has float inputs and outputs alone; those of int8 can be integers.",
            hint="--int8 --io int8, or leave out --io.",
        )
    if scheme == "float16":
        stayed, notes = _to_float16(source, output, wanted), list[str]()
    else:
        stayed, notes = _to_integers(source, output, scheme, ranges, wanted)
    return {
        "stayed_float": [to_json(item) for item in stayed],
        "undelegated": [],
        "notes": notes,
        "packages": ["onnxruntime", "onnx"],
    }


def _to_float16(source: str, output: str, wanted: Quantization) -> list[FloatOperator]:
    """All but the layers that rules keep in float32; those are returned."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = preparation.loaded(source)
    preparation.name_nodes(model)
    kept = _excluded(preparation.node_schemes(source, model, wanted.rules, "float16"), "float32")
    layers = [layer for layer in layers_of(model) if layer.name in kept]
    converted = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=kept
    )
    sort(converted.graph)
    onnx.save(converted, output)
    return [FloatOperator(layer.operator, layer.path) for layer in layers]


def _to_integers(
    source: str, output: str, scheme: str, ranges: str | None, wanted: Quantization
) -> tuple[list[FloatOperator], list[str]]:
    """What stayed float, and notes."""
    import onnx

    from converters.onnx.inspect import float_operators, float_weights

    found = calibrated.needed(ranges, scheme) if scheme in _BITS else None
    prepared = preparation.prepare(source, output + ".prepared")
    model = onnx.load(prepared)
    schemes = preparation.node_schemes(source, model, wanted.rules, scheme)
    notes: list[str] = []
    if found is not None:
        chosen = found.chosen(wanted.method, _BITS[scheme])
        if scheme == "int8":
            shifted, said = _logits.shift(model, schemes, found, wanted.method)
            chosen.update(shifted)
            notes += said
        excluded = _excluded(schemes, "float32", "int8-weights")
        model = static.to_static(model, scheme, wanted.cpu, chosen, excluded)
        notes.append(static.INT16 if scheme == "int16x8" else static.CPUS[wanted.cpu])
        _check(scheme, _kinds(model) & {"QuantizeLinear"}, wanted)
        if wanted.io == "int8":
            io.to_integers(model, signed=wanted.cpu == "arm", ranges=chosen)
    elif scheme == "int8-dynamic":
        model = _dynamic(prepared, output, schemes)
        _check(scheme, _kinds(model) & {"MatMulInteger", "DynamicQuantizeLinear"}, wanted)
    preparation.remove(prepared)
    # In an int8 file ConvTranspose computes in float; its weights need not.
    extra = dict.fromkeys(_float_only(model, schemes), "int8-weights") if scheme in _BITS else {}
    stored = weight_only.store(model, {**schemes, **extra})
    if scheme in _WEIGHTS:
        _check(scheme, stored, wanted)
    sort(model.graph)  # neither ONNX Runtime's quantizer nor we put nodes where they belong
    onnx.save(model, output)
    if scheme in _WEIGHTS:
        return float_weights(Path(output)), notes
    return float_operators(Path(output), signed_kernels=wanted.cpu == "arm"), notes


def _dynamic(prepared: str, output: str, schemes: dict[str, str]) -> Any:
    """MatMul and Gemm alone: ONNX Runtime's dynamic convolutions are slower than its float ones (FACTS, section 1).

    Its quantizer takes each Gemm apart first, the excluded ones too; ``schemes`` gets the names of the parts.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = {node.name: node for node in onnx.load(prepared, load_external_data=False).graph.node}
    parts = {f"{name}{part}": name for name in before for part in ("_MatMul", "_Add") if f"{name}{part}" not in before}
    schemes.update({part: schemes[name] for part, name in parts.items() if before[name].op_type == "Gemm"})
    quantize_dynamic(
        prepared,
        output,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_excluded(schemes, "float32", "int8-weights"),
    )
    model = onnx.load(output)
    for node in model.graph.node:
        origin = before.get(parts.get(node.name, ""))
        if origin is not None and not node.metadata_props:
            node.metadata_props.extend(origin.metadata_props)
    return model


def _excluded(schemes: Mapping[str, str], *which: str) -> list[str]:
    return [name for name, scheme in schemes.items() if scheme in which]


def _float_only(model: Any, schemes: Mapping[str, str]) -> list[str]:
    """Names of the nodes that are to be quantized and that only their weights can be."""
    return [
        node.name for node in model.graph.node if node.op_type in static.FLOAT_ONLY and schemes.get(node.name) in _BITS
    ]


def _kinds(model: Any) -> set[str]:
    return {node.op_type for node in model.graph.node}


_NOTHING = {
    "int8": ("quantizes convolutions, matrix products and what lies between them", "--fp16"),
    "int16x8": ("quantizes convolutions, matrix products and what lies between them", "--fp16"),
    "int8-dynamic": (
        "quantizes MatMul and Gemm with constant weights",
        "--int8 with --data FILE quantizes convolutions too; --int8-weights needs no data.",
    ),
    "int8-weights": ("stores weights of Conv, ConvTranspose, Gemm and MatMul", "--fp16 halves every weight."),
    "int4-weights": ("stores weights of MatMul and Gemm", "--int8-weights takes convolutions too."),
}


def _check(scheme: str, found: object, wanted: Quantization) -> None:
    """Refuse a file in which nothing was quantized."""
    if found:
        return
    what, hint = _NOTHING[scheme]
    left = "the rules (--exclude) leave none of these" if wanted.rules else "this model has none that gain by it"
    raise UnsupportedError(f"{scheme} on ONNX {what}, and {left}.", hint=hint)


STEPS = (
    Step(
        name="quantize ONNX",
        source=ONNX,
        target=ONNX,
        schemes=tuple(
            ("float32", scheme)
            for scheme in ("float16", "int8", "int8-dynamic", "int8-weights", "int4-weights", "int16x8")
        ),
        entry="converters.onnx.quantize:quantize",
        preload=("onnxruntime.quantization",),
        packages=("onnx", "onnxruntime", "sympy"),
        extra="onnx",
        mixes={
            "float16": ("float32",),
            "int8": ("float32", "int8-weights"),
            "int8-dynamic": ("float32", "int8-weights"),
            "int8-weights": ("float32", "int4-weights"),
            "int4-weights": ("float32", "int8-weights"),
            "int16x8": ("float32", "int8-weights"),
        },
    ),
)
