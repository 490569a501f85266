"""int8 in eager torch: its arithmetic, what it quantizes, and that it is as far off as the real thing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConversionError
from edgekit.feeds import Feeds

torch = pytest.importorskip("torch", reason="needs the extra torch")
nn = torch.nn
pytestmark = pytest.mark.usefixtures("one_thread")

from converters.torch_export import eight_bits, program, simulate  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "models"))
sys.path.insert(0, str(ROOT / "examples" / "digits"))
import shapes  # noqa: E402 - found through the lines above
from model import Digits  # noqa: E402


def module_of(network: nn.Module, *args: torch.Tensor) -> torch.fx.GraphModule:
    network.eval()
    exported = torch.export.export(network, args, strict=False)
    flat = program.flatten(exported, program.leaves(network(*args)))
    return program.export(flat.module, args).module(check_guards=False)


def random_samples(count: int, *shapes_: tuple[int, ...], seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randn(shape, generator=generator) for shape in shapes_) for _ in range(count)]


@pytest.fixture(scope="module")
def digits() -> torch.fx.GraphModule:
    network = Digits()
    network.load_state_dict(torch.load(ROOT / "examples" / "digits" / "digits.pt", weights_only=True))
    return module_of(network, torch.zeros(1, 1, 8, 8))


def pictures(name: str, count: int) -> simulate.Samples:
    images = np.load(ROOT / "examples" / "digits" / f"{name}.npz")["image"]
    return simulate.Samples(Feeds({"image": images[:, None]}), range(count))


def test_as_far_off_as_onnx_runtime(digits: torch.fx.GraphModule, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    import onnxruntime

    calibration, test = pictures("calibration", 100), pictures("test", 100)
    simulated = simulate.output_sqnr(digits, simulate.ranges_of(digits, calibration), test)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.samples: Iterator[Sequence[torch.Tensor]] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.samples, None)
            return None if sample is None else {"image": sample[0].numpy()}

    exported = program.export(digits, (torch.zeros(1, 1, 8, 8),))
    torch.onnx.export(exported, dynamo=True, verbose=False).save(tmp_path / "float.onnx")
    quantization.shape_inference.quant_pre_process(tmp_path / "float.onnx", tmp_path / "prepared.onnx")
    quantization.quantize_static(
        tmp_path / "prepared.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx")

    def real(image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(item) for item in session.run(None, {"image": image.numpy()})]

    assert simulated == pytest.approx(simulate.compare(digits, real, test), abs=1.5)


def test_layers_of_digits(digits: torch.fx.GraphModule) -> None:
    layers = simulate.layer_sqnr(
        digits, simulate.ranges_of(digits, pictures("calibration", 60)), pictures("calibration", 60)
    )
    assert [(layer.path, layer.kind) for layer in layers] == [
        ("", "input"), ("conv1", "conv"), ("conv2", "conv"), ("conv3", "conv"), ("classifier", "linear"),
    ]  # fmt: skip
    assert [layer.tensor for layer in layers] == ["image", "relu", "relu_1", "relu_2", "linear"]
    assert all(layer.quantized and layer.sqnr_db is not None and 25 < layer.sqnr_db < 70 for layer in layers)
    assert layers[1].low == 0 and layers[1].range == pytest.approx((0.0, layers[1].high))


@pytest.mark.parametrize("limits", [(-1.0, 2.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 1e-3)])
def test_256_values_and_zero_among_them(limits: tuple[float, float]) -> None:
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    values = torch.linspace(low - (high - low), high + (high - low), 20_001)
    got = eight_bits.quantize(values, limits)
    assert 200 <= got.unique().numel() <= 256
    assert eight_bits.quantize(torch.zeros(1), limits) == 0
    step = (high - low) / 255
    inside = (values >= low) & (values <= high)
    assert (got - values)[inside].abs().max() <= step * 1.01
    assert float(got.min()) == pytest.approx(low, abs=step) and float(got.max()) == pytest.approx(high, abs=step)


def test_a_tensor_of_zeros_stays_one() -> None:
    assert eight_bits.quantize(torch.zeros(5), (0.0, 0.0)).abs().max() == 0


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 6, 1), (4, 6, 2), (6, 3, 3), (4, 8, 4)])
def test_transposed_weights_have_a_scale_per_output_channel(inputs: int, outputs: int, groups: int) -> None:
    torch.manual_seed(0)
    network = nn.ConvTranspose2d(inputs, outputs, 3, groups=groups, bias=False)
    factors = 10.0 ** torch.arange(outputs)
    module = module_of(network, torch.randn(1, inputs, 5, 5))
    (node,) = (node for node in module.graph.nodes if node.op == "call_function")
    rows = factors.reshape(groups, -1).repeat_interleave(inputs // groups, 0)[:, :, None, None]
    weight = network.weight.detach() * rows
    got = eight_bits.quantized_weight(weight, node, "conv_transpose")
    assert ((got - weight) / rows).abs().max() <= network.weight.abs().max() / 127


class Branches(nn.Module):
    """A residual, a concatenation, a split, an in-place activation, a padding with a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.conv(x) + x)
        first, second = torch.cat([y, x], 1).split(4, 1)
        z = self.up(torch.cat([second, first], 1)).transpose(2, 3) * 3.0
        return nn.functional.pad(z, (1, 1), value=2.0)


@pytest.mark.parametrize(
    ("network", "shapes_"),
    [
        (Branches(), [(1, 4, 6, 6)]),
        (shapes.settled(shapes.TwoInTwoOut(), torch.randn(1, 3, 9, 9), torch.randn(1, 4)), [(1, 3, 9, 9), (1, 4)]),
        (nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3), nn.Softmax(-1)), [(2, 5, 6)]),
    ],
    ids=["branches", "two inputs", "transformer parts"],
)
def test_close_to_float_but_not_float(network: nn.Module, shapes_: list[tuple[int, ...]]) -> None:
    samples = random_samples(20, *shapes_)
    module = module_of(network, *samples[0])
    ranges = simulate.ranges_of(module, samples)
    assert 25 < simulate.output_sqnr(module, ranges, samples) < 60
    everything = [node.name for node in module.graph.nodes]
    assert simulate.output_sqnr(module, ranges, samples, everything) == math.inf
    layers = simulate.layer_sqnr(module, ranges, samples)
    assert all(layer.sqnr_db is None or layer.sqnr_db > 20 for layer in layers)
    floats = simulate.layer_sqnr(module, ranges, samples, everything)
    assert {layer.sqnr_db for layer in floats} == {None} and not any(layer.quantized for layer in floats)


def test_a_layer_left_float_loses_less(digits: torch.fx.GraphModule) -> None:
    samples = pictures("calibration", 40)
    ranges = simulate.ranges_of(digits, samples)
    ranges["relu_1"] = (0.0, 1.0)  # cuts off most of what conv2 makes
    whole = simulate.output_sqnr(digits, ranges, samples)
    kept = simulate.output_sqnr(digits, ranges, samples, {"conv2d_1", "relu_1", "max_pool2d", "conv2d_2"})
    assert kept > whole + 10
    layers = simulate.layer_sqnr(digits, ranges, samples)
    assert next(layer.path for layer in layers if layer.sqnr_db is not None and layer.sqnr_db < 20) == "conv2"


def test_inputs_are_left_alone() -> None:
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2.0) + 1.0

    module = module_of(InPlace(), torch.randn(1, 3))
    samples = random_samples(4, (1, 3))
    copies = [sample[0].clone() for sample in samples]
    simulate.output_sqnr(module, simulate.ranges_of(module, samples), samples)
    assert all(torch.equal(sample[0], copy) for sample, copy in zip(samples, copies, strict=True))


def test_integers_pass() -> None:
    module = module_of(shapes.Tokens(), torch.zeros(1, 7, dtype=torch.int64))
    samples = [(torch.randint(0, 50, (1, 7)),) for _ in range(10)]
    assert simulate.output_sqnr(module, simulate.ranges_of(module, samples), samples) > 25


def test_what_cannot_be_simulated_is_said(digits: torch.fx.GraphModule) -> None:
    samples = pictures("calibration", 2)
    with pytest.raises(ConversionError, match=r"no calibrated range for relu \(act\)"):
        simulate.output_sqnr(digits, {"image": (0.0, 1.0)}, samples)
    with pytest.raises(ConversionError, match="No node of the program is called conv9"):
        simulate.Simulation(digits, {}, {"conv9"})
