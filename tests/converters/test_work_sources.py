from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from converters.pytorch.inspect import inspect  # noqa: E402 - after the check that it is there
from converters.work import StoredTensor, bits_of, bytes_of, stored  # noqa: E402
from edgekit.requests import LoadRequest  # noqa: E402
from edgekit.types import to_json  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from make_work import Cnn  # noqa: E402


def facts(path: Path) -> dict[str, Any]:
    return inspect(to_json(LoadRequest(str(path))))


def test_a_program_names_the_readers_of_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "cnn.pt2"
    torch.export.save(torch.export.export(Cnn().eval(), (torch.zeros(1, 3, 16, 16),)), path)
    found = facts(path)
    assert found["weights_bytes_by_operator"] == {
        "aten.linear.default": 4 * (2560 + 10),
        "aten.conv2d.default": 4 * (216 + 8 + 1152 + 16),
        "aten.conv_transpose2d.input": 4 * (256 + 4),
    }
    largest = found["largest_tensors"]
    assert len(largest) == 8
    assert largest[0] == {
        "name": "linear.weight",
        "dtype": "float32",
        "shape": (10, 256),
        "size_bytes": 10_240,
        "operator": "aten.linear.default",
    }
    assert found["macs"] == 80_384  # as the converted files have it
    assert (found["moved_bytes"], found["moved_note"]) == (None, "counted in converted files alone")


def test_weights_alone_have_no_readers(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"big": torch.zeros(30, 10), "small": torch.zeros(3, dtype=torch.float16)}, path)
    found = facts(path)
    assert found["weights_bytes_by_operator"] == {}
    assert [(item["name"], item["size_bytes"]) for item in found["largest_tensors"]] == [("big", 1200), ("small", 6)]


def test_only_the_largest_ten_are_named_and_all_are_summed() -> None:
    found = stored(StoredTensor(f"t{size}", "int8", (size,), size, "A" if size % 2 else "B") for size in range(1, 13))
    assert [item.size_bytes for item in found["largest_tensors"]] == list(range(12, 2, -1))
    assert found["weights_bytes_by_operator"] == {"B": 42, "A": 36}


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("float32", 32), ("int4", 4), ("uint8", 8), ("bfloat16", 16), ("bool", 8), ("float8_e4m3fn", 8), ("int64", 64),
     ("float4_e2m1fn", 4), ("resource", 0), ("string", 0), ("", 0)],
)  # fmt: skip
def test_bits(dtype: str, bits: int) -> None:
    assert bits_of(dtype) == bits
    assert bytes_of(3, dtype) == -(-3 * bits // 8)
    assert bytes_of(None, dtype) is None
