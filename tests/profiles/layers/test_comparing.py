"""Two tapped files compared, from rows and arrays to layers and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.feeds import Feeds
from profiles.layers import words
from profiles.layers.comparing import Comparison


def row(tensor: str, operator: str, inputs: list[str], **others: Any) -> dict[str, Any]:
    given = {"module": "", "scale": None, "zero_point": None, "shape": [1, 64], "dtype": "float32", "twin": ""}
    return {"output": f"out_{tensor}", "tensor": tensor, "operator": operator, "inputs": inputs, **given, **others}


FLOAT = [row("conv", "Conv", ["image"], module="stem"), row("fc", "Gemm", ["conv"], module="head")]
INT8 = [
    row("conv_q", "Conv", ["image"], module="stem", scale=0.05, zero_point=3, dtype="int8", twin="conv"),
    row("fc_q", "Gemm", ["conv_q"], module="head", scale=0.05, zero_point=0, dtype="int8", twin="fc"),
]


def quantized(values: np.ndarray, zero_point: int) -> np.ndarray:
    return np.clip(np.rint(values / 0.05) + zero_point, -128, 127).astype(np.int8)


@pytest.fixture
def expected() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"out_{name}": rng.normal(size=(12, 1, 64)).astype(np.float32) for name in ("conv", "fc")}


def compared(expected: dict[str, np.ndarray], found: dict[str, np.ndarray], groups: int = 3) -> Comparison:
    comparison = Comparison(INT8, FLOAT)
    for start in range(0, 12, 12 // groups):
        part = slice(start, start + 12 // groups)
        comparison.add(
            Feeds({name: array[part] for name, array in found.items()}),
            Feeds({name: array[part] for name, array in expected.items()}),
        )
    return comparison


def test_integers_stand_for_floats(expected: dict[str, np.ndarray]) -> None:
    found = {"out_conv_q": quantized(expected["out_conv"], 3), "out_fc_q": quantized(expected["out_fc"], 0)}
    comparison = compared(expected, found)
    layers, first = comparison.result()
    assert first is None
    assert [layer.matched for layer in layers] == ["name", "name"]
    assert all(layer.sqnr_db is not None and 34 < layer.sqnr_db < 40 for layer in layers)
    assert [layer.exclude for layer in layers] == ["stem", "head"]
    assert comparison.samples == 12
    assert comparison.unmatched() == ()
    assert words.said(layers, first).startswith("No layer's SQNR collapses. The lowest is ")


def test_what_the_agent_dequantized_is_taken_as_it_is(expected: dict[str, np.ndarray]) -> None:
    raw = {"out_conv_q": quantized(expected["out_conv"], 3), "out_fc_q": quantized(expected["out_fc"], 0)}
    ready = {
        "out_conv_q": ((raw["out_conv_q"].astype(np.float32) - 3) * 0.05),
        "out_fc_q": raw["out_fc_q"].astype(np.float32) * 0.05,
    }
    one, other = compared(expected, raw).result()[0], compared(expected, ready).result()[0]
    assert [layer.sqnr_db for layer in one] == pytest.approx([layer.sqnr_db for layer in other], abs=1e-3)


def test_groups_make_no_difference(expected: dict[str, np.ndarray]) -> None:
    found = {"out_conv_q": quantized(expected["out_conv"], 3), "out_fc_q": quantized(expected["out_fc"], 0)}
    one, other = compared(expected, found, 1).result()[0], compared(expected, found, 12).result()[0]
    assert [layer.sqnr_db for layer in one] == pytest.approx([layer.sqnr_db for layer in other])


def test_the_broken_layer_is_named_with_its_ranges(expected: dict[str, np.ndarray]) -> None:
    """Values up to 16 in a tensor whose integers end at 6.4."""
    wide = {**expected, "out_fc": expected["out_fc"] * 4}
    found = {"out_conv_q": quantized(wide["out_conv"], 3), "out_fc_q": quantized(wide["out_fc"], 0)}
    layers, first = compared(wide, found).result()
    assert first == 1
    assert layers[1].finding.startswith("clipped: ")
    assert layers[1].high == pytest.approx(127 * 0.05)
    assert layers[1].reference_high == pytest.approx(float(wide["out_fc"].max()))
    said = words.said(layers, first)
    assert said.startswith("Drift begins at Gemm head: SQNR falls to ")
    assert said.endswith("To keep it float: --exclude 'head'")


def test_values_that_are_not_finite_are_said(expected: dict[str, np.ndarray]) -> None:
    found = {"out_conv_q": expected["out_conv"] * np.nan, "out_fc_q": expected["out_fc"] * np.nan}
    layers, first = compared(expected, found).result()
    assert first == 0
    assert words.said(layers, first).startswith("Drift begins at Conv stem: its values are not finite")


def test_other_numbers_of_samples_are_refused(expected: dict[str, np.ndarray]) -> None:
    found = {"out_conv_q": quantized(expected["out_conv"], 3), "out_fc_q": quantized(expected["out_fc"], 0)}
    with pytest.raises(ValueError, match="5 samples of the file, 12 of the float file"):
        Comparison(INT8, FLOAT).add(Feeds({name: array[:5] for name, array in found.items()}), Feeds(expected))


def test_what_has_no_partner_is_listed() -> None:
    rows = [row("x", "Conv", ["image"], shape=[1, 8]), row("q", "QuantizeLinear", ["x"], shape=[1, 8])]
    comparison = Comparison(rows, FLOAT)
    arrays = {"out_x": np.ones((2, 1, 8)), "out_q": np.ones((2, 1, 8))}
    comparison.add(Feeds(arrays), Feeds({name: np.ones((2, 1, 64)) for name in ("out_conv", "out_fc")}))
    assert comparison.unmatched() == ("x",)
    assert comparison.result() == ([], None)
