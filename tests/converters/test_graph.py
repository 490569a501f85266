from __future__ import annotations

import pytest

from converters.graph import ONNX, PTE, SAVED_MODEL, STABLEHLO, TFLITE, TORCH_EXPORT, plan
from edgekit import registry
from edgekit.plugins import Edge, Node


def way(source: Node, target: Node) -> list[Edge]:
    found = plan(source, target, registry.steps())
    assert found is not None, (source, target)
    return found


@pytest.mark.parametrize("form", [TORCH_EXPORT, ONNX, TFLITE, SAVED_MODEL, STABLEHLO])
@pytest.mark.parametrize("target", [TFLITE, ONNX])
@pytest.mark.parametrize("scheme", ["int8", "int8-dynamic", "int8-weights", "int16x8"])
def test_float_models_are_quantized_in_the_form_of_the_target(form: str, target: str, scheme: str) -> None:
    edges = way(Node(form), Node(target, scheme))
    assert [edge.target.scheme for edge in edges[:-1]] == ["float32"] * (len(edges) - 1)
    assert (edges[-1].source.form, edges[-1].target.form) == (target, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Node(ONNX, "int8"), Node(PTE, "int8")),
        (Node(ONNX, "int8"), Node(TFLITE, "int8")),
        (Node(ONNX, "int8-dynamic"), Node(PTE, "int8-dynamic")),
        (Node(TFLITE, "int8"), Node(ONNX, "int8")),
        (Node(TFLITE, "int8"), Node(PTE, "int8")),
    ],
)
def test_what_arrives_quantized_stays_so(source: Node, target: Node) -> None:
    assert {edge.target.scheme for edge in way(source, target)} == {source.scheme}


def test_no_way_comes_back_to_a_form() -> None:
    assert plan(Node(TFLITE, "int8"), Node(TFLITE, "float32"), registry.steps()) is None
    assert plan(Node(PTE), Node(TFLITE), registry.steps()) is None
    assert plan(Node(ONNX), Node(ONNX), registry.steps()) == []
