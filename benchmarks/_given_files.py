"""Float files that others have made, quantized by edgekit's own steps: their formats are no sources yet.

    python benchmarks/_given_files.py TARGET SOURCE SAMPLES.npy OUTPUT

TARGET is ``tflite`` or ``onnx``; SAMPLES has the shape ``(samples, *shape of the one input)``. A process of its own, as
the peers' are.
"""

from __future__ import annotations

import argparse
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

    One TFLite file has no signature, and LiteRT's own quantizer calibrates through signatures alone: a copy of it gets
    one in ``scratch``. The key point classifier is left out: the quantizer leaves float biases in it, by its own route
    and by edgekit's, and the runtime refuses both files (``is_optional_bias_int != true``).
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
    """A copy whose inputs and outputs have the names of their tensors."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    (graph,) = model.subgraphs
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
