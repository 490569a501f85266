"""Models with open axes: one program for all sizes, or a refusal that names the node."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.types import Signature, TensorSpec

torch = pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from imported_models import called, decibels, model  # noqa: E402 - after the check that it is there
from onnx import helper  # noqa: E402

from converters.onnx_import import convert, moving, open_axes  # noqa: E402
from converters.onnx_import.graph import read  # noqa: E402
from converters.torch_export import program as programs  # noqa: E402

RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> Any:
    return (RANDOM.standard_normal(shape) / 3).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(","), outputs.split(","), name=f"{operator}_{outputs}", **attributes)


def signature_of(proto: Any) -> Signature:
    def specs(values: Any) -> tuple[TensorSpec, ...]:
        kinds = {1: "float32", 7: "int64"}
        return tuple(
            TensorSpec(
                item.name,
                tuple(None if dim.dim_param else dim.dim_value for dim in item.type.tensor_type.shape.dim),
                kinds[item.type.tensor_type.elem_type],
            )
            for item in values
        )

    stored = {item.name for item in proto.graph.initializer}
    return Signature(specs(item for item in proto.graph.input if item.name not in stored), specs(proto.graph.output))


def program(proto: Any, usual: Mapping[str, Sequence[int]] | None = None) -> Any:
    """The exported program with the file's open axes open."""
    signature = signature_of(proto)
    names = {item.name: [dim.dim_param for dim in item.type.tensor_type.shape.dim] for item in proto.graph.input}
    axes = open_axes.axes_of(signature, names, usual or {})
    plan = convert.open_plan(read(proto), signature, axes)
    with torch.no_grad():
        flat = convert.flat_module(plan, axes)
        shapes = open_axes.dynamic_shapes(plan, axes)
        return programs.export(flat.module, convert.example_inputs(plan), shapes)


def same(proto: Any, *sizes: Mapping[str, Sequence[int]], usual: Mapping[str, Sequence[int]] | None = None) -> Any:
    """Export once, and compare with ONNX Runtime in several sizes; returns the program's module."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    exported = program(proto, usual)
    targets = {str(item.target) for item in exported.graph.nodes}
    # torch.export notes the type that it saw before each cast; that is no condition on data.
    checks = {name for name in targets if "assert" in name or "constrain" in name}
    assert checks <= {"aten._assert_tensor_metadata.default"}
    module = exported.module()
    kinds = {spec.name: spec.dtype for spec in signature_of(proto).inputs}
    for shapes in sizes:
        feeds = {
            name: RANDOM.integers(0, 5, shape) if kinds[name] == "int64" else weights(*shape)
            for name, shape in shapes.items()
        }
        with torch.no_grad():
            found = module(*(torch.from_numpy(item) for item in feeds.values()))
        for ours, theirs in zip(found, session.run(None, feeds), strict=True):
            assert tuple(ours.shape) == theirs.shape
            assert decibels(theirs, ours.numpy()) > 110
    return exported.module(check_guards=False)


def batches(*shape: int) -> list[Mapping[str, Sequence[int]]]:
    return [{"x": (count, *shape)} for count in (1, 3, 8)]


CHAIN = [
    node("Shape", "x", "s"), node("Gather", "s,zero", "b"), node("Unsqueeze", "b,axes", "u"),
]  # fmt: skip
CHAIN_CONSTANTS = {"zero": np.int64(0), "axes": np.array([0])}


def test_a_perceptron() -> None:
    nodes = [node("Gemm", "x,w,c", "h", transB=1), node("Relu", "h", "r"), node("MatMul", "r,v", "y")]
    constants = {"w": weights(6, 4), "c": weights(6), "v": weights(6, 3)}
    assert called(same(model(nodes, {"x": ("b", 4)}, ["y"], constants), *batches(4))) == ["linear", "relu", "linear"]


@pytest.mark.parametrize("rest", ["flatten", "zero", "chain", "rows"])
def test_a_convolution_and_a_flattening(rest: str) -> None:
    nodes = [
        node("Conv", "x,w", "h", pads=[1, 1, 1, 1]),
        node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    constants: dict[str, Any] = {"w": weights(4, 3, 3, 3), "v": weights(36, 5)}
    if rest == "flatten":
        nodes.append(node("Flatten", "p", "f"))
    elif rest == "zero":
        nodes.append(node("Reshape", "p,t", "f"))
        constants["t"] = np.array([0, -1])
    elif rest == "chain":
        nodes += [*CHAIN, node("Concat", "u,rest", "t", axis=0), node("Reshape", "p,t", "f")]
        constants |= {**CHAIN_CONSTANTS, "rest": np.array([-1])}
    else:  # (-1, columns), with the rows computed
        nodes += [*CHAIN, node("Mul", "u,nine", "rows"), node("Concat", "rows,rest", "t", axis=0),
                  node("Reshape", "p,t", "q"), node("Reshape", "q,back", "f")]  # fmt: skip
        constants |= {**CHAIN_CONSTANTS, "nine": np.array([9]), "rest": np.array([4]), "back": np.array([-1, 36])}
    nodes.append(node("MatMul", "f,v", "y"))
    names = called(same(model(nodes, {"x": ("b", 3, 6, 6)}, ["y"], constants), *batches(3, 6, 6)))
    assert {"conv2d", "max_pool2d", "linear"} <= set(names)
    assert not [name for name in names if name.startswith("sym")]


def test_a_class_token_is_stored_once() -> None:
    """Expand of a weight to the batch is a constant for every size; it must not be one in the program."""
    nodes = [*CHAIN, node("Concat", "u,rest", "t", axis=0), node("Expand", "token,t", "e"),
             node("Concat", "e,x", "j", axis=1), node("Add", "j,places", "y")]  # fmt: skip
    constants = {**CHAIN_CONSTANTS, "rest": np.array([1, 4]), "token": weights(1, 1, 4), "places": weights(1, 6, 4)}
    module = same(model(nodes, {"x": ("b", 5, 4)}, ["y"], constants), *batches(5, 4))
    assert max(item.numel() for item in module.buffers()) == 24


def test_places_up_to_an_open_length() -> None:
    """A range, rows of a table and a causal mask are the beginning of those of the largest size."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s,one", "n"), node("Range", "zero,n,one", "r"),
        node("Gather", "table,r", "p"), node("Add", "x,p", "h"),
        node("Unsqueeze", "r,axes", "row"), node("Unsqueeze", "r,last", "column"), node("Less", "column,row", "later"),
        node("Transpose", "h", "ht", perm=[0, 2, 1]), node("MatMul", "h,ht", "scores"),
        node("Where", "later,low,scores", "masked"), node("Softmax", "masked", "y", axis=-1),
    ]  # fmt: skip
    constants = {"zero": np.int64(0), "one": np.int64(1), "axes": np.array([0]), "last": np.array([1]),
                 "table": weights(32, 4), "low": np.float32(-1e4)}  # fmt: skip
    proto = model(nodes, {"x": ("b", "n", 4)}, ["y"], constants)
    sizes = [{"x": (batch, length, 4)} for batch, length in ((1, 12), (3, 6), (8, 3), (2, 1))]
    same(proto, *sizes, usual={"x": (1, 12, 4)})


@pytest.mark.parametrize("place", ["first", "last", "rest"])
def test_a_part_of_an_open_axis(place: str) -> None:
    taken = node("Slice", "x,one,end,one", "y") if place == "rest" else node("Gather", "x,place", "y", axis=1)
    constants = {"one": np.array([1]), "end": np.array([2**62]), "place": np.int64(0 if place == "first" else -1)}
    proto = model([taken], {"x": (2, "n", 4)}, ["y"], constants)
    same(proto, *({"x": (2, length, 4)} for length in (12, 6, 3)), usual={"x": (2, 12, 4)})


class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Attention, as networks write it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(20, 8)
        self.mix, self.out, self.norm = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)

    def forward(self, ids: Any, mask: Any) -> Any:
        x = self.table(ids)
        batch, length, _ = x.shape
        q, k, v = self.mix(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 2 + (1 - mask[:, None, None, :].float()) * -1e4
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, 8))
        return self.norm(x), x[:, 0]


def exported(network: Any, inputs: tuple[Any, ...], dynamo: bool, names: Sequence[str], axes: Any) -> Any:
    buffer = io.BytesIO()
    if dynamo:
        made = torch.onnx.export(
            network.eval(), inputs, dynamo=True, input_names=list(names), verbose=False,
            dynamic_shapes=tuple({axis: torch.export.Dim(word) for axis, word in axes.items()} for _ in names),
        )  # fmt: skip
        return made.model_proto
    torch.onnx.export(
        network.eval(), inputs, buffer, dynamo=False, input_names=list(names), output_names=["y", "z"],
        dynamic_axes={**dict.fromkeys(names, axes), "y": axes, "z": {0: axes[0]}},
    )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("axes", [{0: "batch"}, {0: "batch", 1: "length"}])
def test_a_transformer_of_torch_onnx(dynamo: bool, axes: dict[int, str]) -> None:
    torch.manual_seed(2)
    inputs = (torch.randint(0, 20, (2, 12)), torch.ones(2, 12, dtype=torch.int64))
    proto = exported(Block(), inputs, dynamo, ["ids", "mask"], axes)
    lengths = (12, 6, 3) if 1 in axes else (12,)
    sizes = [{"ids": (batch, length), "mask": (batch, length)} for batch in (1, 3, 8) for length in lengths]
    same(proto, *sizes, usual={"ids": (1, 12), "mask": (1, 12)})


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_recurrent_layer(kind: str) -> None:
    """Its first state is a constant that has the batch among its sizes."""
    gates = {"LSTM": 4, "GRU": 3}[kind]
    nodes = [*CHAIN, node("Concat", "one,u,width", "t", axis=0), node("ConstantOfShape", "t", "h0"),
             node("Transpose", "x", "steps", perm=[1, 0, 2]),
             node(kind, "steps,w,r,bias,,h0" + (",h0" if kind == "LSTM" else ""), "all,y", hidden_size=5)]  # fmt: skip
    nodes[3].input[0] = "one"
    constants = {**CHAIN_CONSTANTS, "one": np.array([1]), "width": np.array([5]), "w": weights(1, gates * 5, 3),
                 "r": weights(1, gates * 5, 5), "bias": weights(1, gates * 10)}  # fmt: skip
    same(model(nodes, {"x": ("b", 4, 3)}, ["y"], constants), *batches(4, 3))


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "a constant batch": (
        [node("Reshape", "x,t", "h"), node("Relu", "h", "y")], {"t": np.array([1, 4])}, "Reshape_h",
    ),
    "a size as data": (
        [*CHAIN, node("Cast", "u", "f", to=1), node("Div", "x,f", "y")], CHAIN_CONSTANTS, "Div_y",
    ),
    "other operators": (
        [
            *CHAIN, node("Less", "b,four", "few"),
            helper.make_node(
                "If", ["few"], ["y"], name="branch",
                then_branch=helper.make_graph(
                    [node("Relu", "x", "t1")], "a", [], [helper.make_tensor_value_info("t1", 1, None)]
                ),
                else_branch=helper.make_graph(
                    [node("Tanh", "x", "t2")], "b", [], [helper.make_tensor_value_info("t2", 1, None)]
                ),
            ),
        ],
        {**CHAIN_CONSTANTS, "four": np.int64(4)}, "depend on a size",
    ),
    "halves of the batch": (
        [node("Split", "x", "p,q", axis=0), node("Concat", "p,q", "y", axis=1)], {}, "Concat_y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_stay_open_is_named(case: str) -> None:
    nodes, constants, said = REFUSED[case]
    with pytest.raises(UnsupportedError, match=said) as caught:
        program(model(nodes, {"x": ("b", 4)}, ["y"], constants))
    assert "--dynamic" in caught.value.hint


def specs(**shapes: tuple[int | None, ...]) -> Signature:
    return Signature(tuple(TensorSpec(name, shape, "float32") for name, shape in shapes.items()), ())


def test_axes_of_one_size_are_found_by_name_and_by_usual_size() -> None:
    signature = specs(x=(None, None, 4), mask=(None, None, None), other=(None, None))
    names = {"x": ["b", "s", ""], "mask": ["b", "s", "s"], "other": ["n", "m"]}
    usual = {"x": (1, 12, 4), "mask": (1, 12, 12), "other": (1, 20)}
    found = {axis.name: axis for axis in open_axes.axes_of(signature, names, usual)}
    assert {name: axis.places for name, axis in found.items()} == {
        "batch": (("x", 0), ("mask", 0), ("other", 0)),
        "x.1": (("x", 1), ("mask", 1), ("mask", 2)),
        "other.1": (("other", 1),),
    }
    assert (found["batch"].largest, found["x.1"].largest, found["other.1"].largest) == (16, 12, 20)


def test_too_many_open_sizes() -> None:
    signature = specs(x=(None, None, None, None))
    with pytest.raises(UnsupportedError, match="4 different sizes would stay open"):
        open_axes.axes_of(signature, {}, {"x": (1, 8, 9, 10)})


@pytest.mark.parametrize("usual", range(1, 30))
def test_every_axis_has_three_sizes_to_compare(usual: int) -> None:
    (axis,) = open_axes.axes_of(specs(x=(3, None)), {}, {"x": (3, usual)})
    assert len(set(axis.sizes)) == 3
    assert 2 <= min(axis.sizes) < max(axis.sizes) <= axis.largest


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (lambda b, n: 3 * b * n - n + 2, True), (lambda b, n: 5 * b, True), (lambda b, n: 7, True),
        (lambda b, n: n * n, False), (lambda b, n: n // 2, False),
    ],
)  # fmt: skip
def test_formulas(value: Any, known: bool) -> None:
    axes = open_axes.axes_of(specs(x=(None, None)), {}, {"x": (1, 12)})
    points = open_axes.points(axes)
    fit = moving.Fit(tuple(axis.sizes[:2] for axis in axes), tuple(points))
    found = fit.formula([value(*point.values()) for point in points])
    assert (found is not None) == known
    if found is not None:
        assert found.at({"batch": 11, "x.1": 9}) == value(11, 9)
