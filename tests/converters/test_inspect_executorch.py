from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from converters.executorch._flatbuffer import Schema
from converters.executorch.inspect import float_operators, inspect
from edgekit.errors import ConversionError

pytest.importorskip("executorch", reason="needs the executorch extra")

MODELS = Path(__file__).parent.parent / "models"  # make_programs.py says what is in them, and the sums below
MACS, PARAMETERS = 2900, 813


@pytest.mark.parametrize(
    ("name", "scheme", "weights"),
    [
        ("float32", "float32", {"float32": 4 * PARAMETERS}),
        ("portable", "float32", {"float32": 4 * PARAMETERS}),
        ("float16", "float32 + float16", {"float16": 1326, "float32": 600}),
        ("int8", "int8", {"int8": 795, "float32": 144, "int32": 72}),
        ("int8_dynamic", "int8-dynamic", {"int8": 687, "float32": 544}),
    ],
)
def test_the_same_network_in_each_form(name: str, scheme: str, weights: dict[str, int]) -> None:
    facts = inspect(str(MODELS / f"small_{name}.pte"))
    assert (facts["macs"], facts["parameters"], facts["quantization"]) == (MACS, PARAMETERS, scheme)
    assert facts["weights_bytes_by_dtype"] == weights


def test_neither_torch_nor_executorch_is_imported() -> None:
    path = str(MODELS / "small_float32.pte")
    code = (
        "import sys\n"
        "from converters.executorch.inspect import inspect\n"
        f"inspect({path!r})\n"
        "print([name for name in ('torch', 'executorch.exir') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_inside_of_the_delegate() -> None:
    facts = inspect(str(MODELS / "small_int8.pte"))
    assert facts["quantized_operators"] == {
        "xnnpack::FullyConnected": 2,
        "xnnpack::Conv2d": 1,
        "xnnpack::DepthwiseConv2d": 1,
        "xnnpack::Add": 1,
        "xnnpack::ConvTranspose2d": 1,
        "xnnpack::Multiply": 1,
    }
    floats = [item["operator"].removeprefix("xnnpack::") for item in facts["stayed_float"]]
    assert floats == ["BatchMatrixMultiply", "Negate", "Exp", "Softmax"]
    assert [asdict(item) for item in float_operators(MODELS / "small_int8.pte")] == list(facts["stayed_float"])
    assert facts["metadata"]["delegates"] == "XnnpackBackend x3"


def test_undelegated_operators_and_what_they_cost() -> None:
    delegated = inspect(str(MODELS / "small_float32.pte"))
    assert [item["operator"] for item in delegated["undelegated"]] == [
        "aten::unsqueeze_copy.out",
        "aten::squeeze_copy.dims_out",
    ]
    assert delegated["notes"] == ()
    portable = inspect(str(MODELS / "small_portable.pte"))
    assert portable["operators"]["aten::convolution.out"] == 3
    assert portable["notes"][0].startswith("100.0% of the MACs run outside the delegate, in aten::convolution")


def test_signature_is_the_one_edgekit_wrote_else_the_methods_own() -> None:
    written = inspect(str(MODELS / "small_float32.pte"))["signature"]
    assert written["inputs"] == (
        {"name": "image", "shape": (None, 2, 8, 8), "dtype": "float32", "scale": None, "zero_point": None},
    )
    own = inspect(str(MODELS / "small_portable.pte"))["signature"]
    assert own["inputs"] == (
        {"name": "input_0", "shape": (1, 2, 8, 8), "dtype": "float32", "scale": None, "zero_point": None},
    )
    assert own["outputs"] == (
        {"name": "output_0", "shape": (1, 3), "dtype": "float32", "scale": None, "zero_point": None},
    )


def test_dynamic_sizes_are_counted_at_their_bound() -> None:
    facts = inspect(str(MODELS / "small_batch.pte"))
    assert facts["macs"] == 4 * MACS
    assert facts["macs_note"] == "at the upper bound of its dynamic sizes"
    assert facts["memory_planned_bytes"] > 0


def test_float16_weights_that_are_stored_as_float32_are_said() -> None:
    notes = inspect(str(MODELS / "small_float16.pte"))["notes"]
    assert any("stored as float32" in note for note in notes)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.99])
def test_truncated(share: float, tmp_path: Path) -> None:
    whole = (MODELS / "small_int8.pte").read_bytes()
    cut = tmp_path / "cut.pte"
    cut.write_bytes(whole[: int(len(whole) * share)])
    for read in (lambda: inspect(str(cut)), lambda: float_operators(cut)):
        with pytest.raises(ConversionError, match="truncated") as caught:
            read()
        assert caught.value.hint


def test_every_single_damaged_byte_is_an_error_or_harmless(tmp_path: Path) -> None:
    whole = bytearray((MODELS / "small_int8.pte").read_bytes())
    damaged = tmp_path / "damaged.pte"
    for place in range(8, len(whole), 97):
        copy = whole.copy()
        copy[place] ^= 0xFF
        damaged.write_bytes(copy)
        try:
            inspect(str(damaged))
        except ConversionError as error:
            assert error.hint


def test_schema_reader(tmp_path: Path) -> None:
    (tmp_path / "base.fbs").write_text("enum Kind : byte { A, B = 5, C }")
    schema_file = tmp_path / "top.fbs"
    schema_file.write_text(
        'include "base.fbs"; // a comment; with { braces }\n'
        "union Any { One, Two: Other }\n"
        "table One { x: [ubyte] (force_align: 16, deprecated); kind: Kind = C; }\n"
        "table Other { any: Any; after: double = -1.5; }\n"
        "root_type Other;"
    )
    schema = Schema.load(schema_file)
    assert schema.enums["Kind"] == ("byte", {0: "A", 5: "B", 6: "C"})
    assert schema.unions["Any"] == {1: ("One", "One"), 2: ("Two", "Other")}
    assert schema.tables["Other"]["any"].slot == 1  # slot 0 says which member it is
    assert schema.tables["Other"]["after"].default == "-1.5"
    assert schema.tables["One"]["kind"].slot == 1
    assert schema.root == "Other"
