"""Ranges of the tensors of a float ONNX file, by running it in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.calibration import ranges
from converters.calibration.shift import LinearLayer
from converters.graph import ONNX
from converters.onnx import _logits
from converters.onnx import _prepare as preparation
from edgekit import feeds as folders
from edgekit import reporting
from edgekit.errors import ConversionError
from edgekit.plugins import Calibration


def calibrate(source: str, output: str, feeds: str, percentile: float) -> dict[str, Any]:
    """Run a file over samples, one at a time, and write the ranges of all float tensors.

    Args:
        source: Path of the float file.
        output: Path of the ranges file to write (:mod:`converters.calibration.ranges`).
        feeds: Folder of samples (:mod:`edgekit.feeds`).
        percentile: Of the method of that name.

    Returns:
        ``tensors``: how many have ranges.

    Raises:
        ConversionError: The file cannot be prepared, or does not run.
    """
    logging.disable(logging.WARNING)
    prepared = preparation.prepare(source, output + ".prepared")
    session, names = _session(prepared)
    preparation.remove(prepared)
    samples = folders.read(Path(feeds))
    collector = ranges.Collector(names.logits, layers=names.layers)
    for done, sample in enumerate(samples.samples(), 1):
        given = {name: values for name, values in sample.items() if name in names.inputs}
        for name, values in given.items():
            collector.add(name, values)
        try:
            results = session.run(names.floats, given)
        except Exception as error:  # ONNX Runtime raises classes of its own
            raise ConversionError(f"ONNX Runtime, at calibration sample {done}: {error}") from error
        for name, values in zip(names.floats, results, strict=True):
            collector.add(name, values)
        reporting.advance(done, samples.count)
    found = collector.finish(ONNX, samples.count, samples.origin, percentile)
    ranges.write(Path(output), found)
    return {"tensors": len(found.tensors)}


class _Names:
    """Tensors of a session: the model's inputs, and all that is float among what its nodes make."""

    def __init__(self, session: Any, logits: Mapping[str, int], layers: Sequence[LinearLayer]) -> None:
        self.logits, self.layers = logits, layers
        self.inputs = {item.name for item in session.get_inputs()}
        self.floats = [item.name for item in session.get_outputs() if item.type in ("tensor(float)", "tensor(float16)")]


def _session(path: str) -> tuple[Any, _Names]:
    """A session that returns every tensor."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    logits, layers = _logits.logits_of(model), _logits.layers_before(model)
    present = {item.name for item in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name and name not in present]
    # Without a type: ONNX Runtime infers it, also where onnx could not.
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = preparation.threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What can be fused was fused when the file was prepared; from here on every tensor must exist.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise ConversionError(f"ONNX Runtime cannot load the float file: {error}") from error
    return session, _Names(session, logits, layers)


CALIBRATION = Calibration(
    form=ONNX,
    entry="converters.onnx.calibrate:calibrate",
    preload=("onnxruntime.quantization",),
    packages=("onnx", "onnxruntime", "sympy"),
    extra="onnx",
)
