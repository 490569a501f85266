"""TFLite: calibration, every scheme, rules and integer borders, on the trained digits example and seeded networks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.calibration import ranges
from converters.tflite import _file, _names
from converters.tflite.calibrate import calibrate
from converters.tflite.inspect import inspect
from converters.tflite.layers import layers_of
from converters.tflite.lower import lower
from converters.tflite.quantize import STEPS, quantize
from converters.torch_export import program
from edgekit import feeds
from edgekit.errors import ConversionError, UnsupportedError, UsageError
from edgekit.types import Quantization, Rule, to_json

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("litert_quantizer", reason="needs the extra tflite")

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SCHEMES = tuple(after for _, after in STEPS[0].schemes)
LEAST_SQNR_DB = {"float16": 60, "int8": 34, "int8-dynamic": 34, "int8-weights": 38, "int4-weights": 20, "int16x8": 38}

Feed = dict[str, np.ndarray]


class Mixed(torch.nn.Module):
    """Operators of all sorts: some without an integer kernel, an output that is read inside, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.up = torch.nn.ConvTranspose2d(16, 8, 2, 2)
        self.table = torch.nn.Embedding(50, 25)
        self.norm = torch.nn.LayerNorm(25)
        self.narrow = torch.nn.Linear(25, 24)
        self.wide = torch.nn.Linear(32, 10)

    def forward(self, picture: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.nn.functional.gelu(self.depthwise(torch.relu(self.stem(picture))))
        x = torch.nn.functional.leaky_relu(self.up(x)).mean((2, 3))
        words = self.narrow(self.norm(self.table(ids).mean(1)))
        features = torch.cat([x, words], 1)
        return {"features": features, "scores": torch.softmax(self.wide(torch.exp(-features * features)), 1)}


class Divides(torch.nn.Module):
    """A divisor that rounds to zero in integers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(16, 8)
        self.out = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        return self.out(y / (torch.relu(y) * 50 + 1e-3))


class Model:
    """A float file, samples for it, and its ranges."""

    def __init__(self, folder: Path, network: Any, data: Feed) -> None:
        self.path, self.ranges, self.data = folder / "float.tflite", folder / "ranges.json", data
        args = tuple(torch.from_numpy(array[0]) for array in data.values())
        network.eval()
        with torch.no_grad():
            flat = program.flatten(torch.export.export(network, args), program.leaves(network(*args)))
        program.save(program.export(flat.module, args), folder / "program.pt2")
        lower(str(folder / "program.pt2"), str(self.path), "float32", to_json(flat.signature), None, {})
        feeds.write(folder / "feeds", feeds.Feeds(data, None, "tests"))
        self.found = calibrate(str(self.path), str(self.ranges), str(folder / "feeds"), 99.99)

    def quantize(self, output: Path, scheme: str, io: str = "float", rules: tuple[Rule, ...] = ()) -> Any:
        settings = to_json(Quantization(io=io, rules=rules))
        return quantize(str(self.path), str(output), scheme, {}, str(self.ranges), settings)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Model:
    sys.path.insert(0, str(DIGITS))
    try:
        from model import Digits
    finally:
        sys.path.remove(str(DIGITS))
    network = Digits()
    network.load_state_dict(torch.load(DIGITS / "digits.pt"))
    data = np.load(DIGITS / "calibration.npz")["image"][:, None]
    return Model(tmp_path_factory.mktemp("digits"), network, {"image": data})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    pictures = generator.standard_normal((32, 1, 3, 8, 8), np.float32)
    data = {"picture": pictures, "ids": generator.integers(0, 50, (32, 1, 7))}
    return Model(tmp_path_factory.mktemp("mixed"), Mixed(), data)


@pytest.fixture(scope="module")
def test_images() -> Feed:
    return {"image": np.load(DIGITS / "test.npz")["image"][:, None]}


def run(path: Path, data: Feed, delegate: bool = True) -> Feed:
    """Outputs of a file in LiteRT; integer borders are converted as their parameters say."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    runner = interpreter.get_signature_runner()
    found: dict[str, list[np.ndarray]] = {}
    for index in range(len(next(iter(data.values())))):
        feed = {}
        for name, detail in runner.get_input_details().items():
            (scale, zero), dtype = detail["quantization"], detail["dtype"]
            value = data[name][index]
            value = np.clip(np.rint(value / scale) + zero, *np.array([-128, 127])) if scale else value
            feed[name] = np.ascontiguousarray(value, dtype)
        for name, value in runner(**feed).items():
            scale, zero = runner.get_output_details()[name]["quantization"]
            found.setdefault(name, []).append((value - float(zero)) * scale if scale else np.array(value))
    return {name: np.stack(values) for name, values in found.items()}


def sqnr_db(path: Path, model: Model, data: Feed, delegate: bool = True) -> float:
    """The worst of the outputs against the float file."""
    reference, made = run(model.path, data), run(path, data, delegate)
    assert set(reference) == set(made)
    errors = {name: reference[name].astype(float) - made[name] for name in reference}
    return min(float(10 * np.log10((reference[n].astype(float) ** 2).sum() / (errors[n] ** 2).sum())) for n in errors)


def kept(result: Any) -> list[str]:
    return [f"{item['operator']} {item['name']}" for item in result["stayed_float"]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_accuracy_on_trained_network(scheme: str, digits: Model, test_images: Feed, tmp_path: Path) -> None:
    """Acceptance 2 of the issue."""
    result = digits.quantize(tmp_path / "made.tflite", scheme)
    assert sqnr_db(tmp_path / "made.tflite", digits, test_images) >= LEAST_SQNR_DB[scheme]
    facts = inspect(str(tmp_path / "made.tflite"))
    assert [spec["dtype"] for spec in (*facts["signature"]["inputs"], *facts["signature"]["outputs"])] == [
        "float32"
    ] * 2
    assert facts["parameters"] == inspect(str(digits.path))["parameters"]
    if scheme == "int4-weights":
        assert facts["quantization"].startswith("int4")
        assert len(kept(result)) == 3
        assert "CONV_2D (2)" in result["notes"][0]
    else:
        assert facts["quantization"] == scheme
    if scheme in ("float16", "int8", "int8-weights", "int16x8"):
        assert kept(result) == []
        assert result["notes"] == []


@pytest.mark.parametrize("delegate", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_mixed_network_in_both_kernels(scheme: str, delegate: bool, mixed: Model, tmp_path: Path) -> None:
    """Rows of 25 and of 32, an output that a float operator reads; kernels of XNNPACK and of LiteRT itself."""
    mixed.quantize(tmp_path / "made.tflite", scheme)
    least = {"int4-weights": 10, "float16": 50}.get(scheme, 20)
    assert sqnr_db(tmp_path / "made.tflite", mixed, mixed.data, delegate) >= least


def test_calibration_covers_what_the_quantizer_asks_for(mixed: Model) -> None:
    model = _file.read(mixed.path)
    names = set(_names.activations(model).values())
    found = ranges.read(mixed.ranges)
    assert set(found.tensors) == names
    assert mixed.found == {"tensors": len(names)}
    assert (found.samples, found.origin, found.form) == (32, "tests", "TFLite")
    picture = next(item for name, item in found.tensors.items() if "picture" in name)
    assert picture.minimum == pytest.approx(mixed.data["picture"].min())
    asked = {tensor.name for item in model.subgraphs[0] for tensor in item.outputs if tensor.is_float}
    assert asked <= names


def test_ranges_are_needed_and_must_be_those_of_the_file(digits: Model, mixed: Model, tmp_path: Path) -> None:
    settings = to_json(Quantization())
    arguments: Callable[..., Any] = lambda given: (str(digits.path), str(tmp_path / "x"), "int8", {}, given, settings)  # noqa: E731
    with pytest.raises(UsageError, match="calibration data"):
        quantize(*arguments(None))
    with pytest.raises(ConversionError, match="of another file"):
        quantize(*arguments(str(mixed.ranges)))


def test_layers(digits: Model, mixed: Model) -> None:
    listed = layers_of(digits.path)
    weighted = [(layer.path, layer.kind) for layer in listed if layer.weighted]
    assert weighted == [("act+conv1", "conv"), ("act+conv2", "conv"), ("act+conv3", "conv"), ("classifier", "linear")]
    assert all(source < place for place, layer in enumerate(listed) for source in layer.inputs)
    assert [layer.path for layer in listed if layer.is_output] == ["classifier"]
    kinds = {layer.kind for layer in layers_of(mixed.path)}
    assert kinds >= {"conv", "depthwise_conv", "conv_transpose", "embedding", "linear", "softmax", "concat", "gelu"}


def test_one_of_several_layers_stays_float(digits: Model, test_images: Feed, tmp_path: Path) -> None:
    result = digits.quantize(tmp_path / "made.tflite", "int8", rules=(Rule("conv2"),))
    assert kept(result) == ["CONV_2D act+conv2"]
    assert sqnr_db(tmp_path / "made.tflite", digits, test_images) >= 36


def test_operators_that_share_a_path_are_told_apart(mixed: Model, tmp_path: Path) -> None:
    """LayerNorm is twelve operators of one path; the rule names one kind of them."""
    names = [layer.name for layer in layers_of(mixed.path) if layer.path == "norm" and layer.kind == "mul"]
    result = mixed.quantize(tmp_path / "made.tflite", "int8", rules=(Rule("rsqrt"),))
    assert kept(result).count("RSQRT norm") == 1
    assert "MUL norm" not in kept(result)
    assert len(names) >= 2


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("linear", ["FULLY_CONNECTED classifier"]),
        ("CONV_2D", ["CONV_2D act+conv2", "CONV_2D act+conv3"]),
        ("@first", ["DEPTHWISE_CONV_2D act+conv1"]),
        ("@last", ["FULLY_CONNECTED classifier"]),
    ],
)
def test_float_layers_by_kind_and_preset(match: str, expected: list[str], digits: Model, tmp_path: Path) -> None:
    made = tmp_path / "made.tflite"
    assert kept(digits.quantize(made, "int8", rules=(Rule(match),))) == expected
    # A float layer at a border is not fed numbers that went through 8 bits for nothing.
    operators = inspect(str(made))["operators"]
    assert operators["QUANTIZE"] + operators["DEQUANTIZE"] == (6 if match == "CONV_2D" else 2)


@pytest.mark.parametrize(("base", "layer"), [(base, own) for base, more in STEPS[0].mixes.items() for own in more])
def test_every_mix_runs(base: str, layer: str, mixed: Model, tmp_path: Path) -> None:
    mixed.quantize(tmp_path / "made.tflite", base, rules=(Rule("wide", layer), Rule("gelu", layer)))
    few = {name: array[:4] for name, array in mixed.data.items()}
    assert sqnr_db(tmp_path / "made.tflite", mixed, few) >= 10


def test_a_scheme_that_a_layer_cannot_have(digits: Model, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="int4-weights on act\\+conv2") as caught:
        digits.quantize(tmp_path / "made.tflite", "int8", rules=(Rule("conv2", "int4-weights"),))
    assert "int8-weights" in caught.value.hint
    result = digits.quantize(tmp_path / "made.tflite", "int8", rules=(Rule("*", "int4-weights"),))
    assert "No int4-weights for act+conv1, act+conv2, act+conv3" in result["notes"][0]


def test_integer_borders(digits: Model, mixed: Model, test_images: Feed, tmp_path: Path) -> None:
    digits.quantize(tmp_path / "digits.tflite", "int8", io="int8")
    assert sqnr_db(tmp_path / "digits.tflite", digits, test_images) >= 34
    mixed.quantize(tmp_path / "mixed.tflite", "int8", io="int8")  # its output "features" feeds a float operator, too
    assert sqnr_db(tmp_path / "mixed.tflite", mixed, mixed.data) >= 20
    for name, expected in (("digits", ["int8"] * 2), ("mixed", ["int8", "int32", "int8", "int8"])):
        signature = inspect(str(tmp_path / f"{name}.tflite"))["signature"]
        specs = (*signature["inputs"], *signature["outputs"])
        assert [spec["dtype"] for spec in specs] == expected
        for spec in specs:
            assert (spec["scale"] is None) == (spec["zero_point"] is None) == (spec["dtype"] == "int32")


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "int8"])
def test_integer_borders_are_for_int8(scheme: str, digits: Model, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"does not go with {scheme}") as caught:
        digits.quantize(tmp_path / "made.tflite", scheme, io="int8")
    assert "--int8" in caught.value.hint


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_to_quantize(scheme: str, digits: Model, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"{scheme} finds nothing to quantize") as caught:
        digits.quantize(tmp_path / "made.tflite", scheme, rules=(Rule("*"),))
    assert "rule" in caught.value.hint


def test_repeated_and_empty_names(digits: Model, test_images: Feed, tmp_path: Path) -> None:
    """The runtime does not mind them, the quantizer does."""
    content = digits.path.read_bytes()
    model = _file.read(digits.path)
    for tensor, name in zip(model.raw.subgraphs[0].tensors[-4:], (b"", b"", b"same", b"same"), strict=True):
        tensor.name = name
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(_file.serialized(model.raw, content))
    feeds.write(tmp_path / "feeds", feeds.Feeds(digits.data, None, "tests"))
    found = calibrate(str(odd), str(tmp_path / "ranges.json"), str(tmp_path / "feeds"), 99.99)
    assert found == digits.found
    settings = to_json(Quantization())
    quantize(str(odd), str(tmp_path / "made.tflite"), "int8", {}, str(tmp_path / "ranges.json"), settings)
    assert sqnr_db(tmp_path / "made.tflite", digits, test_images) >= 34


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_division_by_what_rounds_to_zero(scheme: str, tmp_path: Path) -> None:
    """LiteRT's integer kernel of DIV ends the run at such a divisor."""
    torch.manual_seed(0)
    data = {"x": np.random.default_rng(0).standard_normal((32, 1, 16), np.float32)}
    model = Model(tmp_path, Divides(), data)
    result = model.quantize(tmp_path / "made.tflite", scheme)
    assert [item["operator"] for item in result["stayed_float"]] == ["DIV"]
    run(tmp_path / "made.tflite", data)


def test_the_body_of_a_composite_stays_float(tmp_path: Path) -> None:
    """It has no ranges: its tensors cannot be read after a run."""
    from litert_torch.hlfb import StableHLOCompositeBuilder

    class Composite(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            builder = StableHLOCompositeBuilder("od" + "ml.l2_norm")
            y = builder.mark_inputs(x)
            y = y * torch.rsqrt((y * y).sum(-1, keepdim=True) + 1e-3)
            return self.fc(builder.mark_outputs(y))

    data = {"x": np.random.default_rng(0).standard_normal((32, 1, 16), np.float32)}
    model = Model(tmp_path, Composite(), data)
    if "STABLEHLO_COMPOSITE" not in inspect(str(model.path))["operators"]:
        pytest.fail("the converter made no composite")
    for scheme in ("int8", "int16x8", "int8-dynamic"):
        (tmp_path / "made.tflite").unlink(missing_ok=True)
        result = model.quantize(tmp_path / "made.tflite", scheme)
        assert {item["operator"] for item in result["stayed_float"]} >= {"RSQRT"}
        assert sqnr_db(tmp_path / "made.tflite", model, data) >= 25
