from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_models import FLOAT, helper, model, np, onnx, saved

from converters.onnx.inspect import inspect
from edgekit.errors import UsageError


def found(tmp_path: Path, nodes: list[Any], inputs: dict[str, Any], constants: dict[str, Any], **given: Any) -> Any:
    sizes = given.pop("sizes", ())
    return inspect(str(saved(model(nodes, inputs, ["y"], constants, **given), tmp_path / "m.onnx")), sizes)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(kind: str, gates: int, directions: int, tmp_path: Path) -> None:
    """7 steps of 2 sequences of 5 values, 3 units."""
    node = helper.make_node(
        kind, ["x", "w", "r"], ["y"], hidden_size=3, direction="bidirectional" if directions == 2 else "forward"
    )
    weights = {"w": ones(directions, gates * 3, 5), "r": ones(directions, gates * 3, 3)}
    facts = found(tmp_path, [node], {"x": [7, 2, 5]}, weights)
    assert facts["macs"] == 7 * 2 * directions * gates * 3 * (5 + 3)
    assert facts["uncounted"] == {}
    assert facts["moved_bytes"] == 4 * (7 * 2 * 5 + directions * gates * 3 * 8 + 7 * 2 * directions * 3)


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 2 * 3 * 5),
        ("bhqd,bhkd->bhqk", [(2, 4, 7, 8), (2, 4, 9, 8)], 2 * 4 * 7 * 9 * 8),
        ("...ij,...jk", [(6, 2, 3), (6, 3, 5)], 6 * 2 * 3 * 5),
        ("...ij,...jk->...ik", [(6, 2, 3), (1, 3, 5)], 6 * 2 * 3 * 5),
        ("ij->ji", [(2, 3)], 0),
        ("ij,jk,kl->il", [(2, 3), (3, 5), (5, 7)], 2 * 3 * 5 + 2 * 5 * 7),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], macs: int, tmp_path: Path) -> None:
    names = "abc"[: len(shapes)]
    node = helper.make_node("Einsum", list(names), ["y"], equation=equation)
    facts = found(tmp_path, [node], dict(zip(names, shapes, strict=True)), {})
    assert (facts["macs"], facts["uncounted"]) == (macs, {})


def test_attention_of_the_standard(tmp_path: Path) -> None:
    """2 sequences, 4 query heads of 8 and values of 6, 5 queries, 7 keys."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    shapes = {"q": [2, 4, 5, 8], "k": [2, 4, 7, 8], "v": [2, 4, 7, 6]}
    assert found(tmp_path, [node], shapes, {}, opset=23)["macs"] == 2 * 4 * 5 * 7 * (8 + 6)
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=4, kv_num_heads=2)
    shapes = {"q": [2, 5, 32], "k": [2, 7, 16], "v": [2, 7, 12]}
    assert found(tmp_path, [node], shapes, {}, opset=23)["macs"] == 2 * 4 * 5 * 7 * (8 + 6)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "macs"),
    [
        ("MultiHeadAttention", {"q": [2, 5, 32], "k": [2, 7, 32], "v": [2, 7, 32]}, {"num_heads": 4}, 2 * 5 * 7 * 64),
        ("MultiHeadAttention", {"q": [2, 5, 4, 3, 8]}, {"num_heads": 4}, 2 * 2 * 5 * 5 * 32),
        ("Attention", {"q": [2, 5, 32]}, {"num_heads": 4}, 2 * 5 * 32 * 96 + 2 * 2 * 5 * 5 * 32),
        (
            "GroupQueryAttention",
            {"q": [2, 5, 32], "k": [2, 5, 16], "v": [2, 5, 16]},
            {"num_heads": 4, "kv_num_heads": 2},
            2 * 5 * 5 * 64,
        ),
        ("GroupQueryAttention", {"q": [2, 5, 64]}, {"num_heads": 4, "kv_num_heads": 2}, 2 * 5 * 5 * 64),
    ],
)
def test_attention_of_onnx_runtime(
    kind: str, inputs: dict[str, Any], attributes: dict[str, int], macs: int, tmp_path: Path
) -> None:
    names = list(inputs)
    constants = {"w": ones(32, 96)} if kind == "Attention" else {}
    node = helper.make_node(kind, [*names, *constants], ["y"], domain="com.microsoft", **attributes)
    assert found(tmp_path, [node], inputs, constants)["macs"] == macs


def test_what_no_formula_covers_is_a_lower_bound(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MoE", ["h", "r", "f", "", "g"], ["y"], domain="com.microsoft"),
    ]
    weights = {"w": ones(4, 4), "r": ones(2, 4), "f": ones(2, 4, 4), "g": ones(2, 4, 4)}
    facts = found(tmp_path, nodes, {"x": [2, 4]}, weights)
    assert (facts["macs"], facts["uncounted"]) == (32, {"com.microsoft.MoE": 1})


def product(tmp_path: Path, sizes: tuple[str, ...]) -> Any:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    return found(tmp_path, [node], {"x": ["batch", "length", 8]}, {"w": ones(8, 4)}, sizes=sizes)


def test_open_sizes_as_asked_for(tmp_path: Path) -> None:
    facts = product(tmp_path, ("x=2,9,8",))
    assert (facts["macs"], facts["macs_note"]) == (2 * 9 * 8 * 4, "")
    assert facts["counted_shapes"] == {"x": (2, 9, 8)}
    assert facts["signature"]["inputs"][0]["shape"] == (None, None, 8)
    assert facts["moved_bytes"] == 4 * (2 * 9 * 8 + 8 * 4 + 2 * 9 * 4)
    without = product(tmp_path, ())
    assert (without["macs"], without["moved_bytes"], without["arithmetic_intensity"]) == (None, None, None)
    assert without["counted_shapes"] == {}
    assert without["moved_note"] == "MatMul m: it has a size that is only known at run time"


def test_sizes_that_are_not_the_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes x: float32"):
        product(tmp_path, ("x=2,9,16",))
    with pytest.raises(UsageError, match="the inputs of"):
        product(tmp_path, ("z=2,9,8",))


def test_views_and_picks_move_what_they_touch(tmp_path: Path) -> None:
    """A table of 1000 rows of 8, of which 3 are read."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["y"]),
    ]
    constants = {"table": ones(1000, 8), "shape": np.array([24])}
    graph = model(nodes, {}, ["y"], constants)
    graph.graph.input.append(helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [3]))
    facts = inspect(str(saved(graph, tmp_path / "m.onnx")))
    assert [row["moved_bytes"] for row in facts["work"]] == [2 * 4 * 24, 0, 2 * 4 * 24]
    assert facts["weights_bytes_by_operator"] == {"Gather": 32_000, "Reshape": 8}
    assert facts["arithmetic_intensity"] == 0.0


def test_between_dequantize_and_quantize_data_has_eight_bits(tmp_path: Path) -> None:
    parameters = {"s": np.float32(0.1), "z": np.uint8(0), "zw": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "zw"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["h"], name="conv"),
        helper.make_node("QuantizeLinear", ["h", "s", "z"], ["hq"]),
        helper.make_node("DequantizeLinear", ["hq", "s", "z"], ["hd"]),
        helper.make_node("Transpose", ["hd"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("QuantizeLinear", ["t", "s", "z"], ["tq"]),
        helper.make_node("DequantizeLinear", ["tq", "s", "z"], ["y"]),
    ]
    facts = found(tmp_path, nodes, {"x": [1, 2, 6, 6]}, {**parameters, "wq": np.ones((4, 2, 3, 3), np.int8)})
    moved = {row["node"]: row["moved_bytes"] for row in facts["work"]}
    assert list(moved.values()) == [
        72 * 5 + 5,  # the input is quantized: 4 bytes in, 1 byte out, scale and zero point
        0,
        0,
        72 + (72 + 5) + 64,  # in, weights with scale and zero point, out
        0,
        0,
        64 + 64,
        0,
        64 * 5 + 5,  # the output is dequantized
    ]


def test_files_beside_it_are_named(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = tmp_path / "m.onnx"
    saved(
        model([node], {"x": [1, 64]}, ["y"], {"w": ones(64, 64)}),
        path,
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    facts = inspect(str(path))
    assert facts["beside"] == ("m.data",)
    assert facts["largest_tensors"] == (
        {"name": "w", "dtype": "float32", "shape": (64, 64), "size_bytes": 4 * 64 * 64, "operator": "MatMul"},
    )


def test_weights_that_older_files_list_as_inputs_keep_their_sizes(tmp_path: Path) -> None:
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 8]}, ["y"], {"w": ones(8, 4)})
    proto.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [8, 4]))
    facts = inspect(str(saved(proto, tmp_path / "m.onnx")), ("x=3,8",))
    assert (facts["macs"], facts["counted_shapes"]) == (3 * 8 * 4, {"x": (3, 8)})
