from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx_models import FLOAT, helper, model, np, saved

from converters.onnx.inspect import inspect


def places(proto: Any, folder: Path) -> dict[str, list[Any]]:
    """Graph and node as Model Explorer calls them, by type of operator."""
    found: dict[str, list[Any]] = {}
    for row in inspect(str(saved(proto, folder / "m.onnx")))["work"]:
        found.setdefault(row["operator"], []).append(row["explorer"])
    return found


def test_names_of_their_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Exp", ["b"], ["c"], name="twice"),
        helper.make_node("Neg", ["c"], ["y"], name="twice"),
    ]
    proto = model(nodes, {"x": [4]}, ["y"], {})
    assert places(proto, tmp_path) == {"Relu": [("g", "first")], "Tanh": [None], "Exp": [None], "Neg": [None]}
    proto.graph.ClearField("name")
    assert places(proto, tmp_path)["Relu"] == [("<main>", "first")]


def test_functions_and_branches(tmp_path: Path) -> None:
    """Model Explorer shows the call of a function, whose own nodes are counted here; and branches as other graphs."""
    body = helper.make_function(
        "own",
        "Double",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"], name="inside")],
        [helper.make_opsetid("", 20)],
    )
    branches = [
        helper.make_graph([helper.make_node(kind, ["d"], [kind], name=kind)], kind, [], [output])
        for kind in ("Exp", "Neg")
        for output in [helper.make_tensor_value_info(kind, FLOAT, None)]
    ]
    nodes = [
        helper.make_node("Double", ["x"], ["d"], name="call", domain="own"),
        helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=branches[0], else_branch=branches[1]),
    ]
    proto = model(nodes, {"x": [4]}, ["y"], {"yes": np.array(True)})
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert places(proto, tmp_path) == {"Add": [None], "If": [("g", "choice")], "Exp": [None], "Neg": [None]}
