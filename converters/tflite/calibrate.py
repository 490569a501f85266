"""Ranges of the tensors of a float TFLite file, from runs over samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from converters.calibration import ranges
from converters.facts import unchecked_reading
from converters.graph import TFLITE
from converters.tflite import _file, _logits, _names
from edgekit import feeds as samples
from edgekit.errors import ConversionError, first_line
from edgekit.plugins import Calibration
from edgekit.reporting import advance


def calibrate(source: str, output: str, feeds: str, percentile: float) -> dict[str, Any]:
    """Run a file over every sample, one at a time, and write the ranges of all its float tensors.

    The runtime keeps all tensors for this, so it fuses nothing: values may differ from those of the fused file in
    the last bits.

    Args:
        source: The float file.
        output: The ranges file to write (:mod:`converters.calibration.ranges`); tensors are called as in the file,
            told apart where names repeat (:func:`converters.tflite._names.distinct`).
        feeds: Feeds folder of samples, named as in the file's signature.
        percentile: Of the method of that name.

    Returns:
        ``{"tensors": number of tensors with ranges}``.

    Raises:
        ConversionError: The file does not run on the samples.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    from ai_edge_litert.interpreter import Interpreter

    data = samples.read(Path(feeds))
    with unchecked_reading(Path(source), "TFLite", "ai-edge-litert"):
        model = _file.read(Path(source))
    wanted = _names.activations(model)
    collector = ranges.Collector(_logits.logits_of(model, wanted), layers=_logits.layers_before(model, wanted))
    try:
        interpreter = Interpreter(model_path=source, num_threads=1, experimental_preserve_all_tensors=True)
        runner = interpreter.get_signature_runner()
        dtypes = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}
        for done, sample in enumerate(data.samples(), 1):
            runner(**{name: np.ascontiguousarray(array, dtypes[name]) for name, array in sample.items()})
            for index, name in wanted.items():
                collector.add(name, interpreter.get_tensor(index, model.entry))
            advance(done, data.count)
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"Calibration: LiteRT cannot run the float file: {first_line(error)}") from error
    ranges.write(Path(output), collector.finish(TFLITE, data.count, data.origin, percentile))
    return {"tensors": len(collector.tensors)}


CALIBRATION = Calibration(
    form=TFLITE,
    entry="converters.tflite.calibrate:calibrate",
    preload=("ai_edge_litert.interpreter",),
    packages=("ai_edge_litert",),
    extra="tflite",
)
