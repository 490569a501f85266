"""Quantized ONNX files as programs: their integers stay, in every notation that ONNX Runtime's quantizer writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from imported_models import called, decibels, model  # noqa: E402 - after the checks above
from onnx import helper, numpy_helper  # noqa: E402
from onnxruntime import quantization  # noqa: E402

from converters.graph import ONNX, PTE, TFLITE, plan  # noqa: E402
from converters.onnx_import.convert import convert_quantized  # noqa: E402
from converters.onnx_import.graph import read  # noqa: E402
from converters.onnx_import.quantized_nodes import Activations, told_apart  # noqa: E402
from converters.torch_export import program as programs  # noqa: E402
from converters.torch_export.quantized import quantized_operators  # noqa: E402
from edgekit import registry  # noqa: E402
from edgekit.plugins import Node  # noqa: E402
from edgekit.types import Signature, TensorSpec, to_json  # noqa: E402

SHAPE = (1, 3, 8, 8)
UNSIGNED, SIGNED = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
QDQ, QOPERATOR = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator


def network() -> Any:
    """Convolution, Relu, pooling, addition, a second convolution, and a linear layer."""
    generator = np.random.default_rng(3)

    def constant(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32) / 3

    return model(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"], "relu"),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["r1", "c2"], ["a"], "add"),
            helper.make_node("MaxPool", ["a"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["m"], ["f"], "flat"),
            helper.make_node("MatMul", ["f", "w3"], ["g"], "dense"),
            helper.make_node("Add", ["g", "b3"], ["y"], "bias"),
        ],
        {"x": SHAPE},
        ["y"],
        {
            "w1": constant(4, 3, 3, 3),
            "b1": constant(4),
            "w2": constant(4, 4, 3, 3),
            "b2": constant(4),
            "w3": constant(64, 5),
            "b3": constant(5),
        },
    )


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: np.ndarray) -> None:
        self.left = list(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"x": self.left.pop()} if self.left else None


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((24, *SHAPE), np.float32)


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "float.onnx"
    proto = network()
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [1, 5]))
    onnx.save(onnx.shape_inference.infer_shapes(proto), path)
    return path


def static(source: Path, samples: np.ndarray, activations: Any, weights: Any, notation: Any, **more: Any) -> Path:
    path = source.with_name(f"{activations.name}_{weights.name}_{notation.name}.onnx")
    quantization.quantize_static(
        source,
        path,
        Samples(samples),
        quant_format=notation,
        activation_type=activations,
        weight_type=weights,
        per_channel=weights is SIGNED,
        **more,
    )
    return path


def outputs_of(path: Path, samples: np.ndarray, optimized: bool = False) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimized:  # as the file says it, operator by operator
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {session.get_inputs()[0].name: sample})[0] for sample in samples])


def spec(info: Any) -> TensorSpec:
    tensor = info.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(info.name, tuple(item.dim_value for item in tensor.shape.dim), dtype)


@dataclasses.dataclass
class Imported:
    module: Any
    program: Path
    signature: Any
    notes: list[str]

    def run(self, samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.stack([self.module(torch.from_numpy(sample))[0].numpy() for sample in samples])

    @property
    def layers(self) -> dict[str, tuple[str, int]]:
        """Activations and bits of the operators with integer weights."""
        return {
            item.operator.split(".")[1]: (item.activations, item.weight_bits)
            for item in quantized_operators(self.module)
            if item.weight_bits
        }


def imported(path: Path, scheme: str, keep_rounding: bool = False) -> Imported:
    graph = onnx.load(path).graph
    signature = to_json(Signature(tuple(map(spec, graph.input)), tuple(map(spec, graph.output))))
    program = path.with_suffix(f".{scheme}.pt2")
    result = convert_quantized(str(path), str(program), scheme, signature, None, {}, keep_rounding)
    module = programs.load(str(program)).module(check_guards=False)
    return Imported(module, program, signature, result["notes"])


STATIC = {"conv2d": ("static", 8), "linear": ("static", 8)}


@pytest.mark.parametrize("notation", [QDQ, QOPERATOR])
@pytest.mark.parametrize("activations", [UNSIGNED, SIGNED])
def test_int8_stays_int8(activations: Any, notation: Any, float_file: Path, samples: np.ndarray) -> None:
    """The program computes what the file says, up to a tie in rounding here and there."""
    path = static(float_file, samples, activations, SIGNED, notation)
    found = imported(path, "int8")
    assert found.layers == STATIC
    assert not [note for note in found.notes if "rounded once more" in note]
    stored = [value.dtype for name, value in found.module.named_buffers() if "integers" in name]
    assert stored == [torch.int8] * 3
    dtypes = {node.args[5] for node in found.module.graph.nodes if "quantize_per_tensor" in str(node.target)}
    assert dtypes == {torch.int8}  # as XNNPACK and TFLite want them, whatever the file has
    wanted = outputs_of(path, samples)
    step = float(np.diff(np.unique(wanted)).min())
    assert np.abs(found.run(samples) - wanted).max() <= 1.01 * step
    assert decibels(wanted, found.run(samples)) > 45


def test_weights_that_are_not_symmetric_are_rounded_once_more(float_file: Path, samples: np.ndarray) -> None:
    path = static(float_file, samples, UNSIGNED, UNSIGNED, QDQ)
    found = imported(path, "int8")
    assert found.layers == STATIC
    (note,) = (note for note in found.notes if "rounded once more" in note)
    assert "first" in note
    assert decibels(outputs_of(path, samples), found.run(samples)) > 30


def test_float_keeps_what_saturates(float_file: Path, samples: np.ndarray) -> None:
    """ONNX Runtime's quantizer drops a Relu that the range of its result cuts off: it must not be lost."""
    path = static(float_file, samples, UNSIGNED, SIGNED, QDQ)
    assert "Relu" not in [node.op_type for node in onnx.load(path).graph.node]
    found = imported(path, "float32")
    assert not quantized_operators(found.module)
    assert "clamp" in called(found.module)
    assert any("Not kept: the rounding of its activations" in note for note in found.notes)
    original = outputs_of(float_file, samples)
    assert decibels(original, found.run(samples)) > decibels(original, outputs_of(path, samples))


@pytest.mark.parametrize("notation", [QDQ, QOPERATOR])
@pytest.mark.parametrize("activations", [UNSIGNED, SIGNED])
def test_float_rounds_where_asked(activations: Any, notation: Any, float_file: Path, samples: np.ndarray) -> None:
    """The numbers of the file, as ONNX defines its operators; a tie in a sum may round the other way."""
    path = static(float_file, samples, activations, SIGNED, notation)
    found = imported(path, "float32", keep_rounding=True)
    assert not quantized_operators(found.module)
    assert any("rounded in floating point" in note for note in found.notes)
    wanted = outputs_of(path, samples)
    each = [decibels(one, own) for one, own in zip(wanted, found.run(samples), strict=True)]
    assert np.median(each) > 100
    assert decibels(wanted, imported(path, "float32").run(samples)) < 60


def test_dynamic_rounds_where_asked(float_file: Path, samples: np.ndarray) -> None:
    """Convolutions of data that is quantized at run time included."""
    path = float_file.with_name("dynamic_rounded.onnx")
    quantization.quantize_dynamic(float_file, path, weight_type=SIGNED)
    found = imported(path, "float32", keep_rounding=True)
    assert decibels(outputs_of(path, samples), found.run(samples)) > 100


def test_dynamic_stays_dynamic(float_file: Path, samples: np.ndarray) -> None:
    """A product of data that is quantized at run time; convolutions of such data compute in float."""
    path = float_file.with_name("dynamic.onnx")
    quantization.quantize_dynamic(float_file, path, weight_type=SIGNED)
    assert {"MatMulInteger", "ConvInteger"} <= {node.op_type for node in onnx.load(path).graph.node}
    found = imported(path, "int8-dynamic")
    assert found.layers == {"linear": ("dynamic", 8)}
    assert decibels(outputs_of(path, samples), found.run(samples)) > 35
    plain = imported(path, "float32")
    assert not any("quantize" in name or "qparams" in name for name in called(plain.module))
    assert decibels(outputs_of(float_file, samples), plain.run(samples)) > 35


def joined(scales: Sequence[float]) -> Any:
    """Two convolutions, the first with what a Relu leaves, joined under a scale of their own; uint8."""
    generator = np.random.default_rng(4)
    zeros = (0, 100, 80)
    stored = {
        "w": generator.integers(-127, 128, (2, 3, 1, 1)).astype(np.int8),
        "ws": np.array([0.01, 0.02], np.float32),
        "wz": np.zeros(2, np.int8),
        "xs": np.float32(0.02),
        "xz": np.uint8(120),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xf"]),
    ]
    for place, (scale, zero) in enumerate(zip(scales, zeros, strict=True)):
        stored |= {f"s{place}": np.float32(scale), f"z{place}": np.uint8(zero)}
    for place in range(2):
        names = [f"s{place}", f"z{place}"]
        nodes += [
            helper.make_node("Conv", ["xf", "wf"], [f"c{place}"], f"conv{place}"),
            helper.make_node("QuantizeLinear", [f"c{place}", *names], [f"q{place}"]),
            helper.make_node("DequantizeLinear", [f"q{place}", *names], [f"d{place}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["d0", "d1"], ["c2"], "join", axis=1),
        helper.make_node("QuantizeLinear", ["c2", "s2", "z2"], ["q2"]),
        helper.make_node("Transpose", ["q2"], ["t2"], "moved", perm=[0, 2, 3, 1]),  # of integers
        helper.make_node("DequantizeLinear", ["t2", "s2", "z2"], ["y"]),
    ]
    proto = model(nodes, {"x": SHAPE}, ["y"], stored)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [1, 8, 8, 4]))
    return proto


def test_what_is_joined_gets_one_scale(tmp_path: Path, samples: np.ndarray) -> None:
    path = tmp_path / "joined.onnx"
    onnx.save(joined((0.01, 0.02, 0.03)), path)
    found = imported(path, "int8")
    around = {
        other.args[1:3]
        for node in found.module.graph.nodes
        if "aten.cat" in str(node.target) or "permute" in str(node.target)
        for other in (*node.all_input_nodes, *node.users)
    }
    assert len(around) == 1
    assert any("got the scale of what they are joined with" in note for note in found.notes)
    wanted, result = outputs_of(path, samples), found.run(samples)
    assert np.abs(wanted - result).max() <= 0.03 * 1.01  # a step of the widest
    assert wanted.min() < 0 <= wanted[..., :2].min() == result[..., :2].min()  # what a Relu was is still one


def test_integers_at_the_borders_stay(tmp_path: Path) -> None:
    """int8 goes in and comes out, and the layer between is an integer one."""
    weights = np.random.default_rng(1).integers(-127, 128, (4, 6)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wf"], axis=1),
        helper.make_node("MatMul", ["f", "wf"], ["p"], "dense"),
        helper.make_node("QuantizeLinear", ["p", "t", "z"], ["y"]),
    ]
    for number, dtype in ((onnx.TensorProto.INT8, np.int8), (onnx.TensorProto.UINT8, np.uint8)):
        stored = {"s": np.float32(0.1), "z": dtype(3), "w": weights, "ws": np.full(6, 0.01, np.float32),
                  "t": np.float32(0.25)}  # fmt: skip
        graph = helper.make_graph(
            nodes,
            "borders",
            [helper.make_tensor_value_info("x", number, [1, 4])],
            [helper.make_tensor_value_info("y", number, [1, 6])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
        )
        path = tmp_path / f"{np.dtype(dtype).name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        data = np.random.default_rng(2).integers(0, 120, (20, 1, 4)).astype(dtype)
        found = imported(path, "int8")
        assert found.layers == {"linear": ("static", 8)}
        assert found.run(data).dtype == dtype
        assert np.abs(found.run(data).astype(int) - outputs_of(path, data).astype(int)).max() <= 1
        assert np.abs(imported(path, "float32").run(data).astype(int) - outputs_of(path, data).astype(int)).max() <= 1


def test_integers_that_are_computed_with_are_no_pair() -> None:
    """Behind QuantizeLinear comes something else than DequantizeLinear: nothing is taken away or shifted."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["v"]),
    ]
    proto = model(nodes, {"x": [2, 3]}, ["y", "v"], {"s": np.float32(0.1), "z": np.uint8(7)})
    for activations in Activations:
        found = told_apart(read(proto), activations)
        (quantize,) = (node for node in found.model.graph.nodes if "q" in node.outputs)
        assert quantize.operator == "QuantizeLinear"


def test_ways_of_a_quantized_file() -> None:
    """Its integers stay where the target can have them; no way leads back to the file's own format."""
    ways = {
        (target, scheme): plan(Node(ONNX, "int8"), Node(target, scheme), registry.steps())
        for target in (PTE, TFLITE, ONNX)
        for scheme in ("int8", "float32", "float16")
    }
    for target in (PTE, TFLITE):
        kept = ways[target, "int8"]
        assert kept is not None and [edge.target.scheme for edge in kept] == ["int8", "int8"]
        restored = ways[target, "float32"]
        assert restored is not None and restored[0].target.scheme == "float32"
    assert ways[ONNX, "int8"] == []
    assert ways[ONNX, "float16"] is None
