"""Each runtime's own int8 route, used as its documentation shows it, and a plain way to run the results.

    python benchmarks/_peers.py quantize TARGET SOURCE SAMPLES.npy OUTPUT
    python benchmarks/_peers.py run TARGET FILE SAMPLES.npy OUTPUTS.npy

TARGET is ``tflite`` (LiteRT quantizer), ``onnx`` (ONNX Runtime) or ``executorch`` (PT2E). SOURCE is the float file
of that format; for ExecuTorch, whose quantizer comes before its format, the ``.pt2``. SAMPLES has the shape
``(samples, *shape of the one input)``. Each command is a process of its own, so no framework meets another.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parent.parent
Array = npt.NDArray[Any]


def quantize_tflite(source: str, samples: Array, output: str) -> None:
    """``static_wi8_ai8`` with the quantizer's own calibration; its default makes inputs and outputs int8."""
    from litert_quantizer import quantizer as litert
    from litert_quantizer import recipe

    interpreter, signature = _signature(source)
    (name,) = interpreter.get_signature_runner(signature).get_input_details()
    quantizer = litert.Quantizer(source)
    quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
    found = quantizer.calibrate({signature: [{name: sample} for sample in samples]}, num_threads=1)
    quantizer.quantize(found).export_model(output)


def quantize_onnx(source: str, samples: Array, output: str) -> None:
    """``quant_pre_process``, then ``quantize_static`` with nothing but what it requires."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """One sample at a time."""

        def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
            self.feeds = feeds

        def get_next(self) -> dict[str, Array] | None:
            return next(self.feeds, None)

    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    prepared = output + ".prepared.onnx"
    quant_pre_process(source, prepared)
    quantize_static(prepared, output, Reader({name: sample} for sample in samples))


def quantize_executorch(source: str, samples: Array, output: str) -> None:
    """PT2E with XNNPACK's quantizer as its documentation shows it: per channel, ranges from its own observers."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.load(source).module(), quantizer)
    with torch.no_grad():
        for sample in samples:
            prepared(torch.from_numpy(sample))
    exported = torch.export.export(convert_pt2e(prepared), (torch.from_numpy(samples[0]),))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    Path(output).write_bytes(edge.to_executorch().buffer)


def run_tflite(path: str, samples: Array) -> Array:
    """Float arrays in and out; int8 inputs and outputs by the scales of the file."""
    interpreter, signature = _signature(path)
    runner = interpreter.get_signature_runner(signature)
    ((name, taken),) = runner.get_input_details().items()
    ((_, given),) = runner.get_output_details().items()
    outputs = []
    for sample in samples:
        (value,) = runner(**{name: _to_integers(sample, taken)}).values()
        outputs.append(_to_floats(value, given))
    return np.stack(outputs)


def run_onnx(path: str, samples: Array) -> Array:
    """Float arrays in and out."""
    return _run("onnxruntime", path, samples)


def run_executorch(path: str, samples: Array) -> Array:
    """Float arrays in and out."""
    return _run("executorch", path, samples)


def _run(runtime: str, path: str, samples: Array) -> Array:
    import importlib

    sys.path.insert(0, str(ROOT))
    module = importlib.import_module(f"profiles.runtimes.{runtime}")
    module.start()
    model = module.load(path, 1)
    (taken,) = model.inputs
    outputs = []
    for sample in samples:
        (value,) = model.run({taken["name"]: sample}).values()
        outputs.append(np.array(value))
    return np.stack(outputs)


def _signature(path: str) -> tuple[Any, str]:
    """The interpreter of a file, and the name of its one signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    (name,) = interpreter.get_signature_list()
    return interpreter, name


def _to_integers(values: Array, tensor: dict[str, Any]) -> Array:
    if np.dtype(tensor["dtype"]).kind == "f":
        return values
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def _to_floats(values: Array, tensor: dict[str, Any]) -> Array:
    if values.dtype.kind == "f":
        return values
    scale, zero_point = tensor["quantization"]
    return (scale * (values.astype(np.float32) - zero_point)).astype(np.float32)


QUANTIZE: dict[str, Callable[[str, Array, str], None]] = {
    "tflite": quantize_tflite,
    "onnx": quantize_onnx,
    "executorch": quantize_executorch,
}
RUN: dict[str, Callable[[str, Array], Array]] = {
    "tflite": run_tflite,
    "onnx": run_onnx,
    "executorch": run_executorch,
}


def main() -> int:
    """One route or one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("quantize", "run"))
    parser.add_argument("target", choices=tuple(QUANTIZE))
    parser.add_argument("file")
    parser.add_argument("samples")
    parser.add_argument("output")
    options = parser.parse_args()
    samples = np.load(options.samples)
    if options.action == "quantize":
        QUANTIZE[options.target](options.file, samples, options.output)
    else:
        np.save(options.output, RUN[options.target](options.file, samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
