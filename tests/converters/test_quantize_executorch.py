"""Quantizing for ExecuTorch: numbers from its own runtime, and what the file then holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConversionError, UnsupportedError, UsageError

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("executorch", reason="needs the extra executorch")

sys.path.insert(0, str(Path(__file__).parent))
from pte_runs import Case, case  # noqa: E402 - found through the line above
from torch import nn  # noqa: E402

DIGITS = Path(__file__).parent.parent.parent / "examples" / "digits"


class Mobile(nn.Module):
    """Depthwise convolutions between clips at 6, whose inputs go far beyond; an average; a shared linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.deep = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.point = nn.Conv2d(32, 16, 1)
        self.shared = nn.Linear(16, 16)
        self.clip = nn.ReLU6()
        with torch.no_grad():
            self.first.weight *= 8
            self.deep.weight *= 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.clip(self.first(x))
        x = self.point(self.clip(self.deep(x)))
        x = nn.functional.adaptive_avg_pool2d(nn.functional.max_pool2d(x, 2), 1).flatten(1)
        return self.shared(torch.relu(self.shared(x)))


class Attention(nn.Module):
    """Linear layers that share an input, one whose inner size no block of 32 divides, products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(64, 64) for _ in range(3))
        self.narrow = nn.Linear(64, 40)
        self.odd = nn.Linear(40, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = (self.query(x) @ self.key(x).transpose(1, 2) / 8).softmax(-1)
        return self.odd(self.narrow(weights @ self.value(x)).relu())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Case:
    sys.path.insert(0, str(DIGITS))
    try:
        from model import Digits
    finally:
        sys.path.remove(str(DIGITS))
    network = Digits().eval()
    network.load_state_dict(torch.load(DIGITS / "digits.pt", weights_only=True))
    test, calibration = (
        np.load(DIGITS / f"{name}.npz")["image"].astype(np.float32).reshape(-1, 1, 1, 8, 8)
        for name in ("test", "calibration")
    )
    return case(network, test[::3], tmp_path_factory.mktemp("digits"), calibration[::3])


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> Case:
    torch.manual_seed(0)
    samples = np.random.default_rng(0).standard_normal((24, 1, 3, 12, 12), np.float32)
    return case(Mobile(), samples, tmp_path_factory.mktemp("mobile"))


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Case:
    torch.manual_seed(0)
    samples = np.random.default_rng(0).standard_normal((16, 1, 7, 64), np.float32)
    return case(Attention(), samples, tmp_path_factory.mktemp("attention"))


def test_float16_halves_the_file_and_stays_accurate(digits: Case) -> None:
    half, full = digits.convert("float16"), digits.convert("float32")
    assert len(half.content) < 0.6 * len(full.content)
    assert half.sqnr_db() >= 60
    stored = half.facts["weights_bytes_by_dtype"]
    assert stored["float16"] > 50 * stored["float32"]  # biases alone stay
    again = digits.convert("float32")
    assert "float16" not in again.facts["weights_bytes_by_dtype"], "the change to ExecuTorch outlived its use"


def test_float16_of_embeddings_and_of_weights_that_do_not_fit(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Embedding(200, 32), nn.Linear(32, 4))
    with torch.no_grad():
        network[1].weight[0, 0] = 1e6
    samples = np.random.default_rng(0).integers(0, 200, (8, 1, 5))
    made = case(network, samples, tmp_path).convert("float16")
    assert made.sqnr_db() >= 60
    assert made.facts["weights_bytes_by_dtype"]["float16"] == 200 * 32 * 2
    assert [note for note in made.result["notes"] if note.startswith("Too large for float16") and "1_weight" in note]


def test_int8_on_the_digits(digits: Case) -> None:
    plain, chosen = digits.convert("int8", method="minmax"), digits.convert("int8")
    assert plain.sqnr_db() >= 34
    assert chosen.sqnr_db() >= plain.sqnr_db() - 0.1
    assert chosen.stayed_float == []
    assert chosen.result["undelegated"] == []
    assert set(chosen.facts["signature"]["inputs"][0]) >= {"scale", "zero_point"}


def test_clips_averages_and_shared_layers_cost_nothing(mobile: Case) -> None:
    """Range of a clip's input, scale of an average, a bias with two input scales: each alone costs 3 dB to 30 dB."""
    made = mobile.convert("int8", method="minmax")
    assert made.sqnr_db() >= 36
    assert made.stayed_float == []
    assert made.facts["quantized_operators"]["xnnpack::FullyConnected"] == 2


@pytest.mark.parametrize(
    ("rule", "floats"),
    [
        ("conv2", ["conv2"]),
        ("linear", ["classifier"]),
        ("conv", ["conv1", "conv2", "conv3"]),
        ("pool", []),  # moves integers: nothing to keep
    ],
)
def test_layers_kept_float_by_path_kind_and_preset(digits: Case, rule: str, floats: list[str]) -> None:
    made = digits.convert("int8", rule)
    assert made.stayed_float == floats
    assert made.sqnr_db() >= digits.convert("int8").sqnr_db() - 0.1
    assert [item.computes for item in made.weighted()].count("float") == len(floats)


def test_float_between_integers_is_said_to_be_impossible(tmp_path: Path) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.third(x + self.second(x))

    samples = np.random.default_rng(0).standard_normal((8, 1, 4, 6, 6), np.float32)
    made = case(Residual(), samples, tmp_path).convert("int8", "add")
    assert made.stayed_float == []
    assert any("whatever is to stay float: add at (top)" in note for note in made.result["notes"])


def test_what_is_only_split_has_a_range(tmp_path: Path) -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = self.first(x).split(4, 1)
            return self.left(left) + self.right(right)

    samples = np.random.default_rng(0).standard_normal((8, 1, 4, 6, 6), np.float32)
    made = case(Split(), samples, tmp_path).convert("int8")
    assert made.sqnr_db() >= 30
    assert made.stayed_float == []


def test_a_rule_that_matches_nothing(digits: Case) -> None:
    with pytest.raises(UsageError, match="'convv1' matches no layer"):
        digits.convert("int8", "convv1")


def test_linear_layers_dynamic_in_an_int8_file(digits: Case) -> None:
    made = digits.convert("int8", "linear=int8-dynamic")
    assert made.sqnr_db() >= 34
    assert [item.activations for item in made.weighted()] == ["int8", "int8", "int8", "dynamic"]


def test_a_tensor_without_a_range_is_an_error(digits: Case) -> None:
    content = json.loads(digits.ranges.read_text())
    del content["tensors"]["linear"]
    damaged = digits.folder / "damaged.json"
    damaged.write_text(json.dumps(content))
    with pytest.raises(ConversionError, match="no range for linear"):
        digits.convert("int8", ranges=damaged)


def test_int8_needs_ranges(digits: Case) -> None:
    from converters.executorch.quantize import quantize

    with pytest.raises(UsageError, match="needs calibration data"):
        quantize(str(digits.program), str(digits.folder / "x.pte"), "int8", digits.signature, None, {})


@pytest.mark.parametrize("rules", [(), ("@first",), ("@last",)])
def test_integers_in_and_out(digits: Case, rules: tuple[str, ...]) -> None:
    """Where the first or last layer is float, the border has the calibrated range."""
    made = digits.convert("int8", *rules, io="int8")
    (source,), (target,) = made.facts["signature"]["inputs"], made.facts["signature"]["outputs"]
    assert (source["name"], source["dtype"], target["dtype"]) == ("image", "int8", "int8")
    assert source["scale"] == pytest.approx(1 / 255, rel=1e-4)
    assert source["zero_point"] == -128
    assert made.sqnr_db() >= 34
    # The same numbers as with float borders, but for the rounding and the ends of the borders themselves.
    steps = np.round(digits.convert("int8", *rules).outputs / target["scale"])
    steps = steps.clip(-128 - target["zero_point"], 127 - target["zero_point"])
    assert np.abs(made.outputs / target["scale"] - steps).max() < 2.5


def test_integer_borders_are_for_int8_alone(digits: Case) -> None:
    with pytest.raises(UnsupportedError, match="float inputs and outputs"):
        digits.convert("int8-dynamic", io="int8")


def test_four_bit_blocks(attention: Case) -> None:
    """8da4w is right where weight-only is not: near the same rounding done in NumPy, and far smaller."""
    made = attention.convert("int4-weights")
    assert made.sqnr_db() >= 15
    assert made.sqnr_db(_rounded_to_blocks()(attention.samples)) >= 35  # what is left: activations in 8 bits
    assert [item.weights for item in made.weighted()] == ["int4"] * 4 + ["float32"]
    assert all(item.delegated for item in made.operators if item.macs)
    assert "odd" in made.stayed_float
    assert "query" not in made.stayed_float
    assert any(note.startswith("odd stayed float") for note in made.result["notes"])
    assert len(made.content) < 0.4 * len(attention.convert("float32").content)


def _rounded_to_blocks():
    torch.manual_seed(0)
    network = Attention().eval()
    for layer in network.children():
        if layer.in_features % 32 == 0:
            blocks = layer.weight.detach().reshape(layer.out_features, -1, 32)
            # torchao's symmetric mapping: the larger of -low / 8 and high / 7.
            low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
            scale = torch.maximum(-low, high) / 7.5
            rounded = (blocks / scale).round().clamp(-8, 7) * scale
            layer.weight = nn.Parameter(rounded.reshape(layer.weight.shape))

    def run(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.stack([network(torch.from_numpy(sample)).numpy() for sample in samples])

    return run


def test_four_bit_files_may_hold_eight_bit_and_float_layers(attention: Case) -> None:
    made = attention.convert("int4-weights", "odd=int8-dynamic", "narrow")
    assert sorted(item.weights for item in made.weighted()) == ["float32", "int4", "int4", "int4", "int8"]
    assert made.sqnr_db() > attention.convert("int4-weights").sqnr_db()


def test_nothing_to_quantize(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((4, 1, 8), np.float32)
    made = case(nn.Sequential(nn.Linear(8, 4), nn.Sigmoid()), samples, tmp_path)
    with pytest.raises(UnsupportedError, match="multiple of 32, and this model has none"):
        made.convert("int4-weights")
    with pytest.raises(UnsupportedError, match="these rules leave none"):
        made.convert("int8", "linear")
