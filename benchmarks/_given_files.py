"""Float files that others have made, quantized by edgekit's own steps: their formats are no sources yet.

    python benchmarks/_given_files.py TARGET SOURCE SAMPLES.npy OUTPUT

TARGET is ``tflite`` or ``onnx``; SAMPLES has the shape ``(samples, *shape of the one input)``. A process of its own, as
the peers' are.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from _cases import Case
from _shared_data import Samples, cifar_images, cifar_lossless, iris_rows, mnist_images

from edgekit import feeds, registry
from edgekit.cpu import resolve
from edgekit.feeds import Feeds
from edgekit.types import Quantization, Signature, from_json, to_json

SUFFIXES = {".tflite": "tflite", ".onnx": "onnx"}
_NETWORK = None  # nothing of PyTorch is behind these


def cases(shared: Path, scratch: Path) -> list[Case]:
    """The float TFLite and ONNX files of the shared folder that have labelled data.

    Two TFLite files are older than what LiteRT's own quantizer reads; copies of these are made in ``scratch``.
    """
    if not shared.is_dir():
        return []
    half = {"jpeg": cifar_images(shared, "half"), "lossless": cifar_lossless(shared, "half")}
    return [
        _case(
            "mlperf-resnet8",
            _with_signature(shared / "mlperf_tiny_resnet8/pretrainedResnet.tflite", scratch),
            _last({"jpeg": cifar_images(shared, "raw"), "lossless": cifar_lossless(shared, "raw")}),
        ),
        _case(
            "key-points",
            _with_signature(shared / "hand_gesture/keypoint_classifier/keypoint_classifier.tflite", scratch),
            _key_points(shared),
        ),
        _case("aieq-mnist", shared / "aieq_mnist/conv_fc_mnist.tflite", _last({"mnist": mnist_images(shared, "unit")})),
        _case("zoo-mnist", shared / "mnist_onnx/mnist.onnx", {"mnist": mnist_images(shared, "raw")}),
        _case("winml-cifar-onnx", shared / "winml_cifar10/ImageClassifier.onnx", half),
        _case("winml-iris-onnx", shared / "winml_iris/Network.onnx", {"iris": iris_rows(shared)}),
    ]


def quantize(target: str, source: str, samples: Path, output: str) -> None:
    """Calibrate and quantize a float file to int8, as ``edgekit convert`` does behind a source."""
    plugin = registry.targets()[target]
    signature = from_json(Signature, registry.function(plugin.inspect)(source)["signature"])
    (spec,) = signature.inputs
    with tempfile.TemporaryDirectory() as name:
        ranges, folder = f"{name}/ranges.json", Path(name, "feeds")
        feeds.write(folder, Feeds({spec.name: np.load(samples, mmap_mode="r")}, origin="calibration samples"))
        registry.function(registry.calibrations()[plugin.form].entry)(source, ranges, str(folder), 99.99)
        entry = next(
            step.entry
            for step in registry.steps()
            if step.source == step.target == plugin.form and ("float32", "int8") in step.schemes
        )
        settings = to_json(Quantization(cpu=resolve("auto")))
        registry.function(entry)(source, output, "int8", to_json(signature), ranges, settings)


def _case(name: str, file: Path, labelled: dict[str, Samples]) -> Case:
    inputs = next(iter(labelled.values()))[0]
    step = max(1, min(10, len(inputs) // 50))
    return Case(name, file, (), "", inputs[::step][:300], labelled, lambda: _NETWORK)


def _with_signature(source: Path, scratch: Path) -> Path:
    """A copy that LiteRT's quantizer can read: it calibrates through signatures alone, and knows new operator codes.

    Inputs and outputs get the names of their tensors. Files of before 2020 have their codes in the old one-byte field,
    and the quantizer takes the zeros of the new one for additions.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    (graph,) = model.subgraphs
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0

    def named(tensors: list[int]) -> list[schema.TensorMapT]:
        maps = []
        for index in tensors:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[index].name, index
            maps.append(entry)
        return maps

    signature.inputs, signature.outputs = named(list(graph.inputs)), named(list(graph.outputs))
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    made = scratch / source.name
    made.write_bytes(bytes(builder.Output()))
    return made


def _key_points(shared: Path) -> dict[str, Samples]:
    """4450 hands, 21 points each, already normalised."""
    with (shared / "hand_gesture/keypoint_classifier/keypoint.csv").open(newline="") as file:
        rows = np.array([[float(value) for value in row] for row in csv.reader(file)], np.float32)
    order = np.random.default_rng(0).permutation(len(rows))  # the file is sorted by class
    return {"key points": (np.ascontiguousarray(rows[order, 1:]), rows[order, 0].astype(np.int64))}


def _last(labelled: dict[str, Samples]) -> dict[str, Samples]:
    """Channels last, as TFLite files have them."""
    return {name: (np.ascontiguousarray(x.transpose(0, 2, 3, 1)), y) for name, (x, y) in labelled.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(SUFFIXES.values()))
    for argument in ("source", "samples", "output"):
        parser.add_argument(argument)
    given = parser.parse_args()
    quantize(given.target, given.source, Path(given.samples), given.output)
