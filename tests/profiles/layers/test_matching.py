"""Which tensor is which: by name, by module, by order, and by values where order leaves a choice."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from profiles.layers.matching import Match, match
from profiles.layers.taps import Tapped, kind_of

sys.path.insert(0, str(Path(__file__).parent))
from made_up import chain, tap

Values = Mapping[str, np.ndarray]


def unlike(_: int, __: int) -> float:
    """Values that say nothing."""
    return 0.0


def paired(file: Sequence[Tapped], reference: Sequence[Tapped], pairs: list[Match]) -> dict[str, tuple[str, str]]:
    return {file[pair.place].tensor: (reference[pair.reference].tensor, pair.how) for pair in pairs}


def by_values(file: Sequence[Tapped], reference: Sequence[Tapped], found: Values, expected: Values) -> dict[str, str]:
    """The match with values, as ``Comparison`` makes it."""

    def likeness(place: int, other: int) -> float:
        return float(np.corrcoef(found[file[place].tensor], expected[reference[other].tensor])[0, 1])

    def distance(place: int, other: int) -> float:
        return float(((found[file[place].tensor] - expected[reference[other].tensor]) ** 2).sum())

    pairs = match(file, reference, likeness, distance)
    return {name: other for name, (other, _) in paired(file, reference, pairs).items()}


def test_equal_names_and_twins() -> None:
    reference = [tap("a", "Conv"), tap("b", "Relu", ["a"]), tap("c", "Gemm", ["b"])]
    file = [
        tap("a_QuantizeLinear_Output", "Conv", twin="a", scale=0.1, dtype="int8"),
        tap("b", "Relu", ["a_QuantizeLinear_Output"]),
        tap("c_quantized", "Gemm", ["b"], twin="c", scale=0.1, dtype="int8"),
        tap("c", "DequantizeLinear", ["c_quantized"]),
    ]
    assert paired(file, reference, match(file, reference, unlike, unlike)) == {
        "a_QuantizeLinear_Output": ("a", "name"),
        "b": ("b", "name"),
        "c_quantized": ("c", "name"),
        "c": ("c", "name"),
    }


def test_names_that_are_equal_by_chance_are_not_believed() -> None:
    """Numbers for names: the quantized file has one operator more in front."""
    kinds = ["conv", "max_pool", "linear", "softmax"]
    reference = [tap(f"{place}", kind, shape=(1, place + 2)) for place, kind in enumerate(kinds)]
    file = [tap("0", "quantize", shape=(1, 9))]
    file += [tap(f"{place + 1}", kind, shape=(1, place + 2)) for place, kind in enumerate(kinds)]
    found = paired(file, reference, match(file, reference, unlike, unlike))
    assert found == {str(place + 1): (str(place), "order") for place in range(4)}


def test_module_path_and_kind() -> None:
    reference = [tap("a", "CONV_2D", module="block.0"), tap("b", "CONV_2D", ["a"], module="block.1")]
    file = [tap("x", "Conv2d", module="block.1"), tap("y", "Conv2d", module="block.0")]
    found = paired(file, reference, match(file, reference, unlike, unlike))
    assert found == {"x": ("b", "module"), "y": ("a", "module")}


def test_a_module_that_runs_another_number_of_times_is_left_to_order() -> None:
    reference = [
        tap("a", "conv", module="shared", shape=(1, 2)),
        tap("b", "conv", ["a"], module="shared", shape=(1, 2)),
    ]
    file = [tap("x", "conv", module="shared", shape=(1, 2))]
    found = paired(file, reference, match(file, reference, unlike, unlike))
    assert set(found) == {"x"}
    assert found["x"][1] == "order"


def test_order_survives_what_was_put_in() -> None:
    reference = chain("conv", "max_pool", "conv", "linear", prefix="r")
    file = chain("quantize", "conv", "transpose", "max_pool", "reshape", "conv", "linear", "dequantize", prefix="q")
    found = paired(file, reference, match(file, reference, unlike, unlike))
    assert found == {"q1": ("r0", "order"), "q3": ("r1", "order"), "q5": ("r2", "order"), "q6": ("r3", "order")}


def test_order_only_pairs_equal_shapes() -> None:
    reference = [tap("a", "conv", shape=(1, 8, 4)), tap("b", "conv", shape=(1, 4, 8))]
    file = [tap("x", "conv", shape=(1, 4, 8))]
    assert paired(file, reference, match(file, reference, unlike, unlike)) == {"x": ("b", "order")}


def test_between_names_order_fills_the_gap() -> None:
    reference = [tap("a", "conv"), tap("r", "conv", ["a"]), tap("b", "linear", ["r"]), tap("s", "conv", ["b"])]
    file = [tap("a", "conv"), tap("x", "conv", ["a"]), tap("b", "linear", ["x"])]
    found = paired(file, reference, match(file, reference, unlike, unlike))
    assert found["x"] == ("r", "order")


@pytest.fixture
def relu() -> tuple[np.ndarray, np.ndarray]:
    """What comes before and behind a relu."""
    before = np.random.default_rng(0).normal(size=200)
    return before, np.maximum(before, 0)


def test_fused_relu_and_folded_batch_norm(relu: tuple[np.ndarray, np.ndarray]) -> None:
    """One operator of the file is three of the float file: it is the last of them, by its values."""
    before, behind = relu
    reference = chain("Conv", "BatchNormalization", "Relu", prefix="r", shape=(200,))
    file = chain("Conv", prefix="q", shape=(200,))
    noise = np.random.default_rng(1).normal(size=200) * 0.01
    expected = {"r0": before * 3 + 2, "r1": before, "r2": behind}
    assert by_values(file, reference, {"q0": behind + noise}, expected) == {"q0": "r2"}


def test_a_name_from_before_the_relu_does_not_mislead(relu: tuple[np.ndarray, np.ndarray]) -> None:
    """Quantizers drop the relu and keep the name of what was before it."""
    before, behind = relu
    reference = [tap("conv", "Conv", shape=(200,)), tap("relu", "Relu", ["conv"], shape=(200,))]
    file = [tap("conv_q", "Conv", twin="conv", shape=(200,))]
    expected = {"conv": before, "relu": behind}
    assert by_values(file, reference, {"conv_q": behind}, expected) == {"conv_q": "relu"}
    assert by_values(file, reference, {"conv_q": before}, expected) == {"conv_q": "conv"}


def test_a_layer_that_is_wrong_is_still_paired(relu: tuple[np.ndarray, np.ndarray]) -> None:
    """Values never stand against names and order: it is the broken layer that one wants to see."""
    before, _ = relu
    other = np.random.default_rng(2).normal(size=200)
    reference = chain("Conv", "Conv", "Gemm", prefix="r", shape=(200,))
    file = chain("Conv", "Conv", "Gemm", prefix="q", shape=(200,))
    expected = {"r0": before, "r1": before**2, "r2": before**3}
    found = {"q0": before, "q1": other, "q2": other**2}
    assert by_values(file, reference, found, expected) == {"q0": "r0", "q1": "r1", "q2": "r2"}


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("CONV_2D", "conv"),
        ("QLinearConv", "conv"),
        ("ConvInteger", "conv"),
        ("xnnpack::Conv2d", "conv"),
        ("aten.convolution.default", "conv"),
        ("aten::convolution.out", "conv"),
        ("DEPTHWISE_CONV_2D", "depthwise_conv"),
        ("xnnpack::DepthwiseConv2d", "depthwise_conv"),
        ("FULLY_CONNECTED", "linear"),
        ("Gemm", "linear"),
        ("QuantizeLinear", "quantize"),
        ("quantized_decomposed::quantize_per_tensor.out", "quantize"),
        ("xnnpack::Convert", "convert"),
        ("RELU6", "clamp"),
        ("Clip", "clamp"),
        ("xnnpack::MaxPooling2d", "max_pool"),
        ("StaticTranspose", "transpose"),
    ],
)
def test_one_word_for_all_formats(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind
