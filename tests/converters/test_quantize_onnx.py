"""ONNX in every scheme: accuracy in ONNX Runtime, types for each CPU, rules, integer inputs and outputs, refusals."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from converters.calibration import ranges as calibrated  # noqa: E402 - after the packages that may be missing
from converters.onnx._io import KEY  # noqa: E402
from converters.onnx.calibrate import calibrate  # noqa: E402
from converters.onnx.inspect import inspect  # noqa: E402
from converters.onnx.layers import layers_of  # noqa: E402
from converters.onnx.lower import lower  # noqa: E402
from converters.onnx.quantize import quantize  # noqa: E402
from converters.torch_export import program as programs  # noqa: E402
from edgekit import feeds  # noqa: E402
from edgekit.errors import ConversionError, UnsupportedError, UsageError  # noqa: E402
from edgekit.types import Quantization, Rule, to_json  # noqa: E402

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "digits"


class Model:
    """A float file with samples and ranges, and what it returns for the samples."""

    def __init__(self, network: Any, calibration: Any, samples: Any, folder: Path) -> None:
        example = (torch.from_numpy(calibration[0]),)
        flat = programs.flatten(torch.export.export(network.eval(), example), [network(*example)])
        programs.save(programs.export(flat.module, example), folder / "program.pt2")
        self.folder, self.samples = folder, samples
        self.input = flat.signature.inputs[0].name
        self.path = str(folder / "float.onnx")
        lower(str(folder / "program.pt2"), self.path, "float32", to_json(flat.signature), None, {})
        data = feeds.write(folder / "feeds", feeds.Feeds({self.input: calibration}, None, "calibration"))
        self.ranges = str(folder / "ranges.json")
        calibrate(self.path, self.ranges, str(data), 99.99)
        self.reference = self.run(Path(self.path))

    def quantize(self, scheme: str, **settings: Any) -> tuple[Path, dict[str, Any]]:
        made = self.folder / f"{scheme}.onnx"
        result = quantize(self.path, str(made), scheme, {}, self.ranges, to_json(Quantization(**settings)))
        return made, dict(result)

    def run(self, path: Path, samples: Any = None) -> Any:
        session = ort.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])
        given = self.samples if samples is None else samples
        return np.stack([session.run(None, {self.input: sample})[0] for sample in given]).astype(np.float64)

    def sqnr(self, outputs: Any) -> float:
        noise = ((self.reference - outputs) ** 2).sum()
        return float(10 * np.log10((self.reference**2).sum() / noise))

    def executed(self, path: Path) -> Counter[str]:
        """Types of the nodes in the graph that ONNX Runtime makes of a file."""
        optimized = self.folder / "optimized.onnx"
        options = _options()
        options.optimized_model_filepath = str(optimized)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(optimized).graph.node)


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Model:
    sys.path.insert(0, str(EXAMPLE))
    from model import Digits  # type: ignore[import-not-found]

    network = Digits()
    network.load_state_dict(torch.load(EXAMPLE / "digits.pt", weights_only=True))
    samples = [np.load(EXAMPLE / name)["image"][:, None] for name in ("calibration.npz", "test.npz")]
    return Model(network, *samples, tmp_path_factory.mktemp("digits"))


class Attention(torch.nn.Module):  # type: ignore[misc]
    """Linear layers on rank 3, matrix products of activations, normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = torch.nn.Linear(16, 64), torch.nn.LayerNorm(64)
        self.query, self.value = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64, bias=False)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        hidden = self.embed(x)
        weights = torch.softmax(self.query(hidden) @ hidden.transpose(1, 2) / 8, -1)
        return self.head(self.norm(hidden + weights @ self.value(hidden)).mean(1))


class Upscaler(torch.nn.Module):  # type: ignore[misc]
    """Depthwise and transposed convolutions, grouped and not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.grouped = torch.nn.ConvTranspose2d(16, 8, 2, 2, groups=4)
        self.up = torch.nn.ConvTranspose2d(8, 4, 2, 2)
        self.last = torch.nn.Conv2d(4, 2, 1)

    def forward(self, x: Any) -> Any:
        hidden = torch.relu(self.depthwise(torch.nn.functional.relu6(self.first(x))))
        return torch.sigmoid(self.last(self.up(self.grouped(hidden))))


def _random(network: Any, shape: tuple[int, ...], folder: Path) -> Model:
    samples = np.random.default_rng(0).standard_normal((32, *shape)).astype(np.float32)
    return Model(network, samples, samples, folder)


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    return _random(Attention(), (1, 8, 16), tmp_path_factory.mktemp("attention"))


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    return _random(Upscaler(), (1, 3, 8, 8), tmp_path_factory.mktemp("upscaler"))


LEAST_SQNR_DB = {
    "float16": 60.0, "int8": 34.0, "int8-dynamic": 38.0, "int8-weights": 38.0, "int4-weights": 20.0, "int16x8": 38.0,
}  # fmt: skip


@pytest.mark.parametrize("scheme", LEAST_SQNR_DB)
def test_accuracy_on_the_digits(digits: Model, scheme: str) -> None:
    """Acceptance 2."""
    made, result = digits.quantize(scheme)
    assert digits.sqnr(digits.run(made)) >= LEAST_SQNR_DB[scheme]
    assert made.stat().st_size < Path(digits.path).stat().st_size
    assert not list(digits.folder.glob("*.prepared"))
    assert result["packages"] == ["onnxruntime", "onnx"]


@pytest.mark.parametrize("scheme", LEAST_SQNR_DB)
def test_accuracy_with_matrix_products_of_rank_three(attention: Model, scheme: str) -> None:
    least = {"float16": 60.0, "int8": 30.0, "int4-weights": 18.0}.get(scheme, 38.0)
    made, _ = attention.quantize(scheme)
    onnx.checker.check_model(onnx.load(made))
    assert attention.sqnr(attention.run(made)) >= least


@pytest.mark.parametrize("scheme", ["float16", "int8", "int8-weights", "int16x8"])
def test_accuracy_with_transposed_convolutions(upscaler: Model, scheme: str) -> None:
    made, _ = upscaler.quantize(scheme)
    assert upscaler.sqnr(upscaler.run(made)) >= 40


def test_calibration_names_every_tensor_of_the_prepared_file(digits: Model) -> None:
    found = calibrated.read(Path(digits.ranges))
    assert (found.form, found.samples, found.origin) == ("ONNX", 300, "calibration")
    assert {"image", "conv2d", "relu", "max_pool2d", "view", "output"} <= set(found.tensors)
    assert found.tensors["relu"].minimum == 0


@pytest.mark.parametrize(("cpu", "dtype", "largest"), [("x86-vnni", 2, 127), ("x86", 2, 64), ("arm", 3, 127)])
def test_the_cpu_decides_on_types(digits: Model, cpu: str, dtype: int, largest: int) -> None:
    made, result = digits.quantize("int8", cpu=cpu)
    model = onnx.load(made)
    stored = {item.name: item for item in model.graph.initializer}
    activations = {stored[node.input[2]].data_type for node in model.graph.node if node.op_type == "QuantizeLinear"}
    weights = [
        onnx.numpy_helper.to_array(item) for item in stored.values() if item.data_type == 3 and len(item.dims) > 1
    ]
    assert activations == {dtype}
    assert max(int(np.abs(item.astype(int)).max()) for item in weights) in (largest, largest - 1)
    assert digits.sqnr(digits.run(made)) >= (34 if largest > 64 else 28)
    assert result["stayed_float"] == []
    assert ("7 bits" in result["notes"][0]) == (cpu == "x86")
    assert result["notes"][0].startswith("Activations s8" if cpu == "arm" else "Activations u8")


@pytest.mark.parametrize("scheme", ["float32", "int8-weights"])
@pytest.mark.parametrize(
    ("pattern", "kept"), [("conv2", ["conv2"]), ("conv", ["conv1", "conv2", "conv3"]), ("@last", ["classifier"])]
)
def test_rules_act_on_what_they_match_and_the_runtime_follows(
    digits: Model, pattern: str, kept: list[str], scheme: str
) -> None:
    made, result = digits.quantize("int8", rules=(Rule(pattern, scheme),))
    stayed = [item["name"] for item in result["stayed_float"] if item["operator"] in ("Conv", "Gemm")]
    assert stayed == kept
    executed = digits.executed(made)
    assert executed["Conv"] + executed["FusedConv"] + executed["Gemm"] == len(kept)
    assert executed["QLinearConv"] + executed["QGemm"] == 4 - len(kept)
    assert digits.sqnr(digits.run(made)) >= 34
    stored = {item.name: item.data_type for item in onnx.load(made).graph.initializer if len(item.dims) > 1}
    assert (onnx.TensorProto.FLOAT in stored.values()) == (scheme == "float32") or scheme == "int8-weights"


def test_operators_between_integer_layers_can_stay_float(attention: Model) -> None:
    """ONNX Runtime would fuse them with the quantization around them."""
    assert attention.executed(attention.quantize("int8")[0])["QLinearSoftmax"] == 1
    made, result = attention.quantize("int8", rules=(Rule("softmax"), Rule("node_matmul*")))
    executed = attention.executed(made)
    assert (executed["Softmax"], executed["QLinearSoftmax"]) == (1, 0)
    assert executed["MatMul"] + executed["FusedMatMul"] == 2
    assert {"Softmax", "MatMul"} <= {item["operator"] for item in result["stayed_float"]}
    assert attention.sqnr(attention.run(made)) >= 30


def test_excluded_relu_and_pooling_are_harmless(digits: Model) -> None:
    for kind in ("relu", "max_pool"):
        made, _ = digits.quantize("int8", rules=(Rule(kind),))
        assert digits.sqnr(digits.run(made)) >= 32


def test_a_rule_that_matches_nothing_is_refused(digits: Model) -> None:
    with pytest.raises(UsageError, match="conv9"):
        digits.quantize("int8", rules=(Rule("conv9"),))


@pytest.mark.parametrize(
    ("scheme", "rule"),
    [
        ("float16", Rule("conv2")),
        ("int8-dynamic", Rule("conv", "int8-weights")),
        ("int8-weights", Rule("linear", "int4-weights")),
        ("int8-weights", Rule("conv2")),
        ("int4-weights", Rule("conv", "int8-weights")),
        ("int16x8", Rule("conv1")),
        ("int16x8", Rule("conv1", "int8-weights")),
    ],
)
def test_mixed_schemes(digits: Model, scheme: str, rule: Rule) -> None:
    plain = digits.quantize(scheme)[0].stat().st_size
    made, result = digits.quantize(scheme, rules=(rule,))
    least = 20 if "int4-weights" in (scheme, rule.scheme) else 38
    assert digits.sqnr(digits.run(made)) >= least
    assert (made.stat().st_size > plain) == (rule.scheme == "float32" and scheme != "int16x8") or scheme == "int16x8"
    if rule == Rule("conv2"):
        assert "conv2" in [item["name"] for item in result["stayed_float"]]


def test_dynamic_leaves_an_excluded_layer_float(attention: Model) -> None:
    made, result = attention.quantize("int8-dynamic", rules=(Rule("head"),))
    assert "head" in [item["name"] for item in result["stayed_float"]]
    assert "embed" not in [item["name"] for item in result["stayed_float"]]
    assert attention.sqnr(attention.run(made)) >= 38


@pytest.mark.parametrize("scheme", ["int8-weights", "int16x8"])
def test_activations_are_not_rounded_to_eight_bits_behind_the_back(attention: Model, scheme: str) -> None:
    """ONNX Runtime makes MatMulNBits of DequantizeLinear and MatMul, which rounds activations to 8 bits."""
    made, _ = attention.quantize(scheme)
    executed = attention.executed(made)
    assert executed["MatMulNBits"] == 0
    assert executed["Gemm"] + executed["MatMul"] + executed["FusedMatMul"] == 6


def test_weight_schemes_are_named_by_inspect(digits: Model) -> None:
    assert inspect(str(digits.quantize("int8-weights")[0]))["quantization"] == "int8-weights"
    facts = inspect(str(digits.quantize("int4-weights")[0]))
    assert facts["quantization"] == "int4-weights"
    assert facts["parameters"] == inspect(digits.path)["parameters"]
    assert [item["name"] for item in digits.quantize("int4-weights")[1]["stayed_float"]] == ["conv1", "conv2", "conv3"]


def test_sixteen_bits_are_said_to_be_computed_in_float(digits: Model) -> None:
    made, result = digits.quantize("int16x8")
    assert {item["name"] for item in result["stayed_float"]} >= {"conv1", "conv2", "conv3", "classifier"}
    assert "no 16-bit kernels" in result["notes"][0]
    executed = digits.executed(made)
    assert executed["Conv"] + executed["Gemm"] == 4


@pytest.mark.parametrize("cpu", ["x86-vnni", "arm"])
@pytest.mark.parametrize("rules", [(), (Rule("@first"), Rule("@last"))], ids=["all", "ends-float"])
def test_integer_inputs_and_outputs(digits: Model, cpu: str, rules: tuple[Rule, ...]) -> None:
    made, _ = digits.quantize("int8", io="int8", cpu=cpu, rules=rules)
    model = onnx.load(made)
    onnx.checker.check_model(model)
    wanted = onnx.TensorProto.INT8 if cpu == "arm" else onnx.TensorProto.UINT8
    ends = (*model.graph.input, *model.graph.output)
    assert [(item.name, item.type.tensor_type.elem_type) for item in ends] == [("image", wanted), ("output", wanted)]
    recorded = json.loads({entry.key: entry.value for entry in model.metadata_props}[KEY])
    limits = np.iinfo(np.int8 if cpu == "arm" else np.uint8)
    entry, result = recorded["image"], recorded["output"]
    integers = np.rint(digits.samples / entry["scale"]) + entry["zero_point"]
    outputs = digits.run(made, np.clip(integers, limits.min, limits.max).astype(limits.dtype))
    assert digits.sqnr((outputs - result["zero_point"]) * result["scale"]) >= 34
    if not rules:
        outer = [node.op_type for node in model.graph.node if {"image", "output"} & {*node.input, *node.output}]
        assert outer == ["QuantizeLinear"] or "DequantizeLinear" in outer
        assert cpu == "arm" or digits.executed(made)["QuantizeLinear"] == 0


@pytest.mark.parametrize("scheme", ["int16x8", "int8-weights", "float16"])
def test_integer_ends_are_refused_but_for_int8(digits: Model, scheme: str) -> None:
    with pytest.raises(UnsupportedError, match="int8 can be integers") as caught:
        digits.quantize(scheme, io="int8")
    assert "--int8 --io int8" in caught.value.hint


@pytest.mark.parametrize(("scheme", "hint"), [("int8-dynamic", "--int8-weights"), ("int4-weights", "--int8-weights")])
def test_refusals_name_what_works(upscaler: Model, scheme: str, hint: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{scheme} on ONNX") as caught:
        upscaler.quantize(scheme)
    assert hint in caught.value.hint


def test_excluding_everything_is_refused(digits: Model) -> None:
    for scheme in ("int8", "int8-weights", "int8-dynamic"):
        with pytest.raises(UnsupportedError, match="the rules"):
            digits.quantize(scheme, rules=(Rule("*"),))


def test_static_without_ranges_asks_for_data(digits: Model) -> None:
    with pytest.raises(UsageError, match="calibration data"):
        quantize(digits.path, str(digits.folder / "none.onnx"), "int8", {}, None, {})


def test_layers(digits: Model, attention: Model, upscaler: Model) -> None:
    layers = layers_of(digits.path)
    assert [(layer.path, layer.kind, layer.weighted) for layer in layers if layer.weighted] == [
        ("conv1", "conv", True), ("conv2", "conv", True), ("conv3", "conv", True), ("classifier", "linear", True),
    ]  # fmt: skip
    assert [layer.inputs for layer in layers] == [(), *((place,) for place in range(len(layers) - 1))]
    assert [layer.path for layer in layers if layer.is_output] == ["classifier"]
    kinds = {layer.path: layer.kind for layer in layers_of(attention.path) if layer.operator == "MatMul"}
    assert [kinds[name] for name in ("embed", "query", "value")] == ["linear"] * 3
    assert "matmul" in kinds.values()
    kinds = {layer.path: layer.kind for layer in layers_of(upscaler.path)}
    assert (kinds["depthwise"], kinds["grouped"]) == ("depthwise_conv", "conv_transpose")
    quantized = layers_of(digits.quantize("int8-weights")[0])
    assert [layer.path for layer in quantized if layer.weighted] == ["conv1", "conv2", "conv3", "classifier"]


def _old_model(path: Path, weights: Any) -> None:
    """Opset 8, IR version 3: stored tensors are inputs too, and a bias has two dimensions."""
    helper, stored = (
        onnx.helper,
        {"k": np.ones((4, 1, 3, 3), np.float32), "w": weights, "b": np.ones((1, 6), np.float32)},
    )
    stored["s"] = np.array([1, 64])
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "same"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Reshape", ["r", "s"], ["v"]),
        helper.make_node("MatMul", ["v", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    dtypes = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in stored.items()}
    entries = [helper.make_tensor_value_info(name, dtypes[name], value.shape) for name, value in stored.items()]
    graph = helper.make_graph(
        nodes, "old", [helper.make_tensor_value_info("x", 1, [1, 1, 6, 6]), *entries],
        [helper.make_tensor_value_info("y", 1, [1, 6])],
        [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3), path)


def test_files_of_old_exporters(tmp_path: Path) -> None:
    _old_model(tmp_path / "old.onnx", np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32))
    samples = np.random.default_rng(1).standard_normal((8, 1, 1, 6, 6)).astype(np.float32)
    feeds.write(tmp_path / "feeds", feeds.Feeds({"x": samples}, None, "random"))
    calibrate(str(tmp_path / "old.onnx"), str(tmp_path / "ranges.json"), str(tmp_path / "feeds"), 99.99)
    assert [layer.name for layer in layers_of(tmp_path / "old.onnx")][:3] == ["same", "Relu_r", "Reshape_v"]
    for scheme in ("int8", "int8-weights", "int16x8"):
        made = str(tmp_path / f"{scheme}.onnx")
        settings = to_json(Quantization(rules=(Rule("conv", "float32"),)))
        result = quantize(str(tmp_path / "old.onnx"), made, scheme, {}, str(tmp_path / "ranges.json"), settings)
        onnx.checker.check_model(onnx.load(made))
        assert "same" in [item["name"] for item in result["stayed_float"]]
        results = [
            ort.InferenceSession(path, _options(), providers=["CPUExecutionProvider"]).run(None, {"x": samples[0]})[0]
            for path in (tmp_path / "old.onnx", made)
        ]
        assert np.abs(results[0] - results[1]).max() < 0.05 * np.abs(results[0]).max()


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    _old_model(tmp_path / "old.onnx", np.full((64, 6), np.nan, np.float32))
    with pytest.raises(ConversionError, match="NaN"):
        quantize(str(tmp_path / "old.onnx"), str(tmp_path / "m.onnx"), "int8-weights", {}, None, {})
