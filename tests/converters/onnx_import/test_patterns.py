"""Operators that exporters write out become one; what only looks alike stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")

from imported_models import called, model
from onnx import helper

Same = Callable[..., Any]
WIDTH = 6


def build(*lines: str, **constants: Any) -> Any:
    """A model of one input ``x`` and one output ``y``; a line is ``result = Operator operand operand``."""
    nodes = []
    for place, line in enumerate(lines):
        result, rest = line.split(" = ")
        kind, *operands = rest.split()
        given = [item for item in operands if "=" not in item]
        attributes: dict[str, Any] = {"axes": [-1]} if kind == "ReduceMean" else {}
        for item in operands:
            if "=" in item:
                name, value = item.split("=")
                attributes[name] = float(value)
        nodes.append(helper.make_node(kind, given, [result], f"{kind}_{place}", **attributes))
    read = {name for node in nodes for name in node.input}
    values = {name: np.asarray(value, np.float32) for name, value in constants.items() if name in read}
    return model(nodes, {"x": (2, 3, WIDTH)}, ["y"], values, opset=13)


GELU = ("d = Div x root", "e = Erf d", "o = Add e one")
TANH = ("s = Mul c k", "a = Add x s", "t = Mul a f", "h = Tanh t", "o = Add h one")
NORM = ("m = ReduceMean x", "d = Sub x m", "q = Pow d two", "v = ReduceMean q", "w = Add v eps", "r = Sqrt w")
SCALED = ("n = Div d r", "g = Mul n gamma", "y = Add g beta")
ERF = {"root": np.sqrt(2), "one": 1, "half": 0.5}
POLYNOMIAL = {"k": 0.044715, "f": 0.7978846, "one": 1, "half": 0.5, "three": 3}
AFFINE = {
    "two": 2, "eps": 1e-5, "gamma": np.linspace(0.5, 1.5, WIDTH), "beta": np.linspace(-1, 1, WIDTH),
}  # fmt: skip
CLIP = {"three": 3, "low": 0, "high": 6, "six": 6, "sixth": 1 / 6}


@pytest.mark.parametrize(
    ("lines", "constants", "wanted"),
    [
        (["s = Sigmoid x", "y = Mul s x"], {}, ["silu"]),
        (["h = HardSigmoid x alpha=0.16666667 beta=0.5", "y = Mul x h"], {}, ["hardswish"]),
        (["a = Add x three", "c = Clip a low high", "m = Mul x c", "y = Div m six"], CLIP, ["hardswish"]),
        (["a = Add three x", "c = Clip a low high", "m = Mul c sixth", "y = Mul x m"], CLIP, ["hardswish"]),
        (["a = Add x three", "c = Clip a low high", "y = Div c six"], CLIP, ["hardsigmoid"]),
        ([*GELU, "p = Mul x o", "y = Mul p half"], ERF, ["gelu"]),
        ([*GELU, "p = Mul half o", "y = Mul p x"], ERF, ["gelu"]),
        ([*GELU, "p = Mul x half", "y = Mul p o"], ERF, ["gelu"]),
        (["c = Pow x three", *TANH, "p = Mul x half", "y = Mul p o"], POLYNOMIAL, ["gelu"]),
        (["b = Mul x x", "c = Mul b x", *TANH, "p = Mul x o", "y = Mul half p"], POLYNOMIAL, ["gelu"]),
        ([*NORM, *SCALED], AFFINE, ["layer_norm"]),
        ([*NORM, "i = Reciprocal r", "n = Mul d i", *SCALED[1:]], AFFINE, ["layer_norm"]),
        ([*NORM[:2], "z = Sub x m", "q = Mul z z", *NORM[3:], *SCALED], AFFINE, ["layer_norm"]),
        ([*NORM, "y = Div d r"], AFFINE, ["layer_norm"]),
        ([*NORM, *SCALED], AFFINE | {"eps": [1e-5], "two": [2]}, ["layer_norm"]),
        ([*GELU, "p = Mul x o", "y = Mul p half"], ERF | {"half": [[0.5]], "one": [1]}, ["gelu"]),
    ],
)  # fmt: skip
def test_joined(same: Same, lines: Sequence[str], constants: dict[str, Any], wanted: list[str]) -> None:
    module = same(build(*lines, **constants), {"x": (2, 3, WIDTH)})
    assert called(module) == wanted
    affine = "y = Add g beta" in lines
    assert len(dict(module.named_buffers())) == (2 if affine else 0)


@pytest.mark.parametrize(
    ("lines", "constants"),
    [
        (["t = Tanh x", "s = Sigmoid t", "y = Mul x s"], {}),
        (["h = HardSigmoid x alpha=0.2 beta=0.5", "y = Mul x h"], {}),
        (["a = Add x three", "c = Clip a low high", "m = Mul x c", "y = Div m six"], CLIP | {"high": 5}),
        ([*GELU, "p = Mul x o", "y = Mul p half"], ERF | {"root": 1.5}),
        ([*GELU, "p = Mul x o", "y = Mul p half"], ERF | {"half": 1}),
        (["c = Pow x three", *TANH, "p = Mul x half", "y = Mul p o"], POLYNOMIAL | {"k": 0.05}),
        ([*NORM[:2], "z = Abs d", "q = Mul z z", *NORM[3:], *SCALED], AFFINE | {"eps": 1}),
        ([*NORM[:2], "z = Mul d two", "q = Mul z d", *NORM[3:], *SCALED], AFFINE),
        ([*GELU, "p = Mul x o", "y = Mul p half"], ERF | {"half": [[[[0.5]]]]}),
        (["m = ReduceMean x", "d = Sub x m", "q = Mul x x", *NORM[3:], *SCALED], AFFINE),
    ],
)
def test_left_alone(same: Same, lines: Sequence[str], constants: dict[str, Any]) -> None:
    module = same(build(*lines, **constants), {"x": (2, 3, WIDTH)})
    assert not {"silu", "hardswish", "gelu", "layer_norm"} & set(called(module))


def test_a_factor_of_another_shape_stays_outside_the_norm(same: Same) -> None:
    module = same(build(*NORM, *SCALED, **AFFINE | {"gamma": np.full((3, 1), 2.0)}), {"x": (2, 3, WIDTH)})
    assert called(module) == ["layer_norm", "mul", "add"]


def test_a_norm_that_others_read_too_keeps_no_factor(same: Same) -> None:
    lines = [*NORM, "n = Div d r", "g = Mul n gamma", "y = Add g n"]
    module = same(build(*lines, **AFFINE), {"x": (2, 3, WIDTH)})
    assert called(module) == ["layer_norm", "mul", "add"]
