from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from converters.executorch.inspect import inspect

pytest.importorskip("executorch", reason="needs the executorch extra")

MODELS = Path(__file__).parents[1] / "models"  # make_programs.py says what is in them


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = inspect(str(MODELS / f"small_{name}.pte"))["work"]
    return found


def test_a_kernel_outside_the_delegate_by_hand() -> None:
    """The stem: image 2*8*8, weights 4*2*3*3 and 4, result 4*4*4, all in float32."""
    stem = rows("portable")[0]
    assert (stem["operator"], stem["macs"], stem["delegated"]) == ("aten::convolution.out", 1152, False)
    assert stem["weights_bytes"] == 4 * (72 + 4)
    assert stem["moved_bytes"] == 4 * (128 + 72 + 4 + 64)
    assert stem["node"] == "forward, instruction 0"


def test_the_same_inside() -> None:
    stem = next(row for row in rows("float32") if row["operator"] == "xnnpack::Conv2d")
    assert (stem["macs"], stem["delegated"]) == (1152, True)
    assert stem["weights_bytes"] == 4 * (72 + 4)
    assert stem["moved_bytes"] == 4 * (128 + 72 + 4 + 64)
    assert stem["node"] == stem["name"] == "delegate 0, node 1"


def test_scales_are_weights_and_activations_have_one_byte() -> None:
    """Weights of 8 bits, biases of 32, one scale per channel for both."""
    stem = next(row for row in rows("int8") if row["operator"] == "xnnpack::Conv2d")
    scales = stem["weights_bytes"] - 72 - 4 * 4
    assert scales in (4 * 4, 2 * 4 * 4)
    assert stem["moved_bytes"] == stem["weights_bytes"] + 128 + 64
    assert (stem["computes"], stem["activations"]) == ("integer", "int8")


def test_every_stored_tensor_has_a_reader_and_a_name() -> None:
    facts = inspect(str(MODELS / "small_float32.pte"))
    assert "(none)" not in facts["weights_bytes_by_operator"]
    names = [item["name"] for item in facts["largest_tensors"]]
    assert all(name.startswith("delegate ") for name in names)
    assert facts["largest_tensors"][0] == {
        "name": next(row["name"] for row in facts["work"] if row["macs"] == 640),
        "dtype": "float32",
        "shape": (5, 128),
        "size_bytes": 4 * 640,
        "operator": "xnnpack::FullyConnected",
    }


def test_open_sizes_are_known_at_their_bound_alone() -> None:
    path = str(MODELS / "small_batch.pte")
    bound = inspect(path)
    assert bound["counted_shapes"] == {"image": (4, 2, 8, 8)}
    assert inspect(path, ("image=4,2,8,8",))["macs"] == bound["macs"] == 4 * 2900
    other = inspect(path, ("image=1,2,8,8",))
    assert (other["macs"], other["moved_bytes"], other["arithmetic_intensity"]) == (None, None, None)
    assert other["macs_note"].startswith("an ExecuTorch file holds the sizes of its upper bound alone (image=4,2,8,8)")
