"""ONNX -> ONNX in another scheme, through ONNX Runtime's own quantizer."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import ONNX, StepResult
from edgekit import feeds
from edgekit.errors import ConversionError, UnsupportedError
from edgekit.feeds import Feeds
from edgekit.plugins import Step
from edgekit.types import to_json


def quantize(
    source: str, output: str, scheme: str, signature: dict[str, object], calibration: str | None
) -> StepResult:
    """Quantize a float ONNX file; inputs and outputs stay float.

    Raises:
        ConversionError: The quantizer refused.
        UnsupportedError: It had nothing to quantize.
    """
    logging.disable(logging.WARNING)
    notes: list[str] = []
    if scheme == "float16":
        _to_float16(source, output)
    elif scheme == "int8-dynamic":
        _to_dynamic(source, output)
    else:
        if calibration is None:
            raise ConversionError("int8 needs calibration data.", hint="--data FILE")
        notes.append(_to_static(source, output, feeds.read(Path(calibration))))
    from converters.onnx.inspect import float_operators

    stayed = [] if scheme == "float16" else float_operators(Path(output))
    return {
        "stayed_float": [to_json(item) for item in stayed],
        "undelegated": [],
        "notes": notes,
        "packages": ["onnxruntime", "onnx"],
    }


def _to_float16(source: str, output: str) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), output)


def _to_dynamic(source: str, output: str) -> None:
    """MatMul and Gemm alone: ONNX Runtime's dynamic convolutions are slower than its float ones (FACTS, section 1)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared = _prepared(source, output)
    quantize_dynamic(
        prepared,
        output,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    if _node_types(output).isdisjoint({"MatMulInteger", "DynamicQuantizeLinear"}):
        raise UnsupportedError(
            "int8-dynamic on ONNX quantizes MatMul and Gemm, and this model has none with constant weights.",
            hint="--int8 with --data FILE quantizes convolutions too.",
        )


def _to_static(source: str, output: str, data: Feeds) -> str:
    """QDQ with activations of the type that this CPU is fast with.

    Returns:
        The choice, in a sentence.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # x86 multiplies u8 by s8; the default s8/s8 was measured at 1.7 times the latency of float (FACTS, section 3).
    arm = platform.machine().lower() in ("aarch64", "arm64")
    quantize_static(
        _prepared(source, output),
        output,
        _reader(data),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if arm else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return f"Activations are {'s8' if arm else 'u8'}, weights s8: what {platform.machine()} multiplies fastest."


def _prepared(source: str, output: str) -> str:
    """The float file with shapes inferred and fused, as the quantizer wants it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = output + ".prepared"
    try:
        quant_pre_process(source, prepared)
    except Exception as error:  # symbolic shape inference raises plain exceptions
        raise ConversionError(f"ONNX Runtime's quantization pre-processing: {error}") from error
    return prepared


def _reader(data: Feeds) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one sample at a time, until there are none."""

        def __init__(self, samples: Iterator[dict[str, Any]]) -> None:
            self.samples = samples

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            return next(self.samples, None)

    return Reader(data.samples())


def _node_types(path: str) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


STEPS = (
    Step(
        name="quantize ONNX",
        source=ONNX,
        target=ONNX,
        schemes=(("float32", "float16"), ("float32", "int8"), ("float32", "int8-dynamic")),
        entry="converters.onnx.quantize:quantize",
        preload=("onnxruntime.quantization",),
        packages=("onnx", "onnxruntime", "sympy"),
        extra="onnx",
    ),
)
