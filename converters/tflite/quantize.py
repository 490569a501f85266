"""TFLite -> TFLite in another scheme, through LiteRT's own quantizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from converters.graph import TFLITE, StepResult
from converters.tflite.borders import make_float
from edgekit import feeds
from edgekit.errors import ConversionError
from edgekit.feeds import Feeds
from edgekit.plugins import Step
from edgekit.types import to_json


def quantize(
    source: str, output: str, scheme: str, signature: dict[str, object], calibration: str | None
) -> StepResult:
    """Quantize a float TFLite file; inputs and outputs stay float.

    Raises:
        ConversionError: The quantizer refused, or had nothing to quantize.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    from litert_quantizer import quantizer as litert
    from litert_quantizer import recipe

    quantizer = litert.Quantizer(source)
    ranges = None
    if scheme == "float16":
        _use_float16(quantizer)
    elif scheme == "int8-dynamic":
        quantizer.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
        if calibration is None:
            raise ConversionError("int8 needs calibration data.", hint="--data FILE")
        ranges = _measure_ranges(source, feeds.read(Path(calibration)), quantizer)
    try:
        quantizer.quantize(ranges).export_model(output)
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"LiteRT's quantizer: {type(error).__name__}: {error}") from error
    if scheme == "int8":
        make_float(Path(output))
    from converters.tflite.inspect import float_operators

    stayed = [] if scheme == "float16" else float_operators(Path(output))
    return {
        "stayed_float": [to_json(item) for item in stayed],
        "undelegated": [],
        "notes": [],
        "packages": ["litert-quantizer"],
    }


def _use_float16(quantizer: Any) -> None:
    from litert_quantizer import algorithm_manager, qtyping

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for operation in (
        qtyping.TFLOperationName.CONV_2D,
        qtyping.TFLOperationName.DEPTHWISE_CONV_2D,
        qtyping.TFLOperationName.CONV_2D_TRANSPOSE,
        qtyping.TFLOperationName.FULLY_CONNECTED,
        qtyping.TFLOperationName.EMBEDDING_LOOKUP,
    ):
        quantizer.update_quantization_recipe(
            regex=".*",
            operation_name=operation,
            op_config=config,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )


class _Samples(Sequence[dict[str, Any]]):
    """Calibration samples one at a time; the quantizer asks for their number first."""

    def __init__(self, data: Feeds, dtypes: dict[str, Any]) -> None:
        self.data = data
        self.dtypes = dtypes

    def __len__(self) -> int:
        return self.data.count

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return {
            name: np.ascontiguousarray(array[index], dtype=self.dtypes[name])
            for name, array in self.data.arrays.items()
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))


def _measure_ranges(source: str, data: Feeds, quantizer: Any) -> Any:
    """True minimum and maximum of every tensor over all samples.

    The quantizer's own default is a moving average of the ranges, which forgets the extremes: 15 dB lost on a trained
    CNN (FACTS-conversion, section 0).
    """
    from litert_quantizer import calibrator as litert
    from litert_quantizer import recipe_manager

    def widest(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        return {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}

    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(quantizer.get_quantization_recipe())
    calibrator = litert.Calibrator(source, num_threads=1, qsv_update_func=widest)
    (name,) = calibrator.get_signature_list()
    details = calibrator._tfl_interpreter.get_signature_runner(name).get_input_details()
    dtypes = {key: detail["dtype"] for key, detail in details.items()}
    calibrator.calibrate({name: _Samples(data, dtypes)}, rules)
    return calibrator.get_model_qsvs()


STEPS = (
    Step(
        name="quantize TFLite",
        source=TFLITE,
        target=TFLITE,
        schemes=(("float32", "float16"), ("float32", "int8"), ("float32", "int8-dynamic")),
        entry="converters.tflite.quantize:quantize",
        preload=("litert_quantizer",),
        packages=("litert_quantizer", "ai_edge_litert"),
        extra="tflite",
    ),
)
