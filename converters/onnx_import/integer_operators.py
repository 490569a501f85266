"""Operators on integers (QOperator files, ``quantize_dynamic``) in the notation of QDQ: floats between conversions.

``QLinearConv`` is ``Conv`` between DequantizeLinear and QuantizeLinear, ``MatMulInteger`` behind
DynamicQuantizeLinear is ``MatMul`` of two dequantized operands, and so on; the formulas are those of the operators'
definitions in ONNX and in ONNX Runtime's ``docs/ContribOperators.md``. What has no such form is left as it is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from converters.onnx_import.graph import Graph, Model, Node, captured
from converters.onnx_import.operators import INTERNAL, MICROSOFT

DYNAMIC = "QuantizeDynamic"
"""Internal operator: data in 8 bits over the range that it has at run time, as floats."""

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_PRODUCTS = ("MatMulInteger", "ConvInteger")
_FLOAT = 1  # TensorProto.FLOAT
_OLDEST_AXIS = 13
"""Opset from which conversions have a scale per channel, and Softmax its present meaning."""


class Rewriter:
    """Nodes of the main graph on their way into the notation of QDQ.

    Args:
        model: Its graph is read; :meth:`model` gives the new one.
    """

    def __init__(self, model: Model) -> None:
        self.before, graph = model, model.graph
        self.constants = {name: value for name, value in graph.constants.items() if hasattr(value, "dtype")}
        for node in graph.nodes:
            if node.operator == "Constant" and not node.domain and hasattr(node.get("value"), "dtype"):
                self.constants[node.outputs[0]] = node.get("value")
        self.nodes: list[Node] = []
        self.version = max((node.version for node in graph.nodes if not node.domain), default=_OLDEST_AXIS)
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self.reads = reads_of(graph)
        self.taken = {*graph.inputs, *graph.constants, *self.makers, *(node.name for node in graph.nodes)}

    def model(self) -> Model:
        """The model with the nodes that were made."""
        named = {node.outputs[0] for node in self.nodes if node.operator == "Constant"}
        constants = {**self.before.graph.constants, **self.constants}
        kept = {name: value for name, value in constants.items() if name not in named}
        return Model(dataclasses.replace(self.before.graph, constants=kept, nodes=self.nodes), self.before.functions)

    def name(self, word: str) -> str:
        """A new name of a tensor or node."""
        number = 1
        while (name := f"{word}/{number}") in self.taken:
            number += 1
        self.taken.add(name)
        return name

    def node(self, like: Node, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node in the place of another; returns its output."""
        domain = INTERNAL if operator == DYNAMIC else ""
        output = output or self.name(like.outputs[0])
        name = self.name(like.name)
        given = {key: value for key, value in attributes.items() if value is not None}
        made = Node(operator, domain, self.version, name, like.path, given, list(inputs), [output])
        self.nodes.append(made)
        return output

    def stored(self, like: Node, value: Any) -> str:
        """Add a constant; returns its name."""
        name = self.name(like.outputs[0])
        self.constants[name] = value
        return name

    def restored(self, like: Node, names: Sequence[str], axis: int | None = None) -> str:
        """Dequantize: tensor, scale and, where there is one, zero point."""
        return self.node(like, "DequantizeLinear", names, axis=axis)

    def rounded(self, like: Node, value: str, names: Sequence[str], output: str) -> None:
        """Quantize a tensor with scale and zero point, under the name of an output."""
        self.node(like, "QuantizeLinear", [value, *names], output)

    def all_stored(self, names: Sequence[str]) -> bool:
        """Whether these are constants; empty names, of what is left out, are none."""
        return all(name in self.constants for name in names)


Rewrite = Callable[[Rewriter, Node], bool]
_REWRITES: dict[tuple[str, str], Rewrite] = {}


def rewritten(model: Model, round_convolved: bool = False) -> Model:
    """The same model with floats between conversions where it had operators on integers.

    Args:
        model: The file.
        round_convolved: Whether convolutions too get data that is rounded over the range that it has at run time. No
            runtime here has such a convolution of integers.
    """
    keys = {(node.domain, node.operator) for node in model.graph.nodes}
    known = {*_REWRITES, *(("", name) for name in _PRODUCTS), *((MICROSOFT, name) for name in _CONVERSIONS)}
    if not keys & known:
        return model
    rewriter = Rewriter(model)
    dynamic = _dynamic(rewriter, round_convolved)
    for node in model.graph.nodes:
        if node.outputs[0] in dynamic:
            dynamic[node.outputs[0]](rewriter, node)
            continue
        rewrite = _REWRITES.get((node.domain, node.operator))
        if rewrite is not None and rewrite(rewriter, node):
            continue
        if node.domain == MICROSOFT and node.operator in _CONVERSIONS:
            node = dataclasses.replace(node, domain="", version=rewriter.version)
        rewriter.nodes.append(node)
    return rewriter.model()


def reads_of(graph: Graph) -> Counter[str]:
    """How often each tensor is read, by nodes, bodies inside them and as an output."""
    reads = Counter(graph.outputs)
    for node in graph.nodes:
        reads.update(name for name in node.inputs if name)
        reads.update(captured(node))
    return reads


def _rewrite(name: str, domain: str = "") -> Callable[[Rewrite], Rewrite]:
    def register(function: Rewrite) -> Rewrite:
        _REWRITES[domain, name] = function
        return function

    return register


def _padded(node: Node, count: int) -> list[str]:
    return [*node.inputs, *[""] * count][:count]


@_rewrite("QLinearConv")
def _conv(to: Rewriter, node: Node) -> bool:
    x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias = _padded(node, 9)
    if not to.all_stored((x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero)) or node.get("channels_last", 0):
        return False
    if bias and bias not in to.constants:
        return False
    operands = [to.restored(node, (x, x_scale, x_zero)), to.restored(node, (weight, w_scale, w_zero), 0)]
    if bias:
        scale = to.constants[x_scale].reshape(()) * to.constants[w_scale]
        operands.append(to.restored(node, (bias, to.stored(node, scale)), 0))
    to.rounded(node, to.node(node, "Conv", operands, **node.attributes), (y_scale, y_zero), node.outputs[0])
    return True


@_rewrite("QLinearMatMul")
def _matmul(to: Rewriter, node: Node) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    if not to.all_stored((a_scale, a_zero, b_scale, b_zero, y_scale, y_zero)):
        return False
    if to.constants[a_scale].numel() > 1 or to.constants[b_scale].dim() > 1:
        return False
    restored = [to.restored(node, (a, a_scale, a_zero)), to.restored(node, (b, b_scale, b_zero), -1)]
    to.rounded(node, to.node(node, "MatMul", restored), (y_scale, y_zero), node.outputs[0])
    return True


@_rewrite("QGemm", MICROSOFT)
def _gemm(to: Rewriter, node: Node) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = _padded(node, 9)
    if not to.all_stored((a_scale, a_zero, b, b_scale, b_zero)) or (c and c not in to.constants):
        return False
    alpha, turned = node.get("alpha", 1.0), node.get("transB", 0)
    operands = [to.restored(node, (a, a_scale, a_zero)), to.restored(node, (b, b_scale, b_zero), 0 if turned else 1)]
    if c:
        scale = to.constants[a_scale].reshape(()) * to.constants[b_scale] * alpha
        operands.append(to.restored(node, (c, to.stored(node, scale)), to.constants[c].dim() - 1))
    attributes = {"alpha": alpha, "transA": node.get("transA", 0), "transB": turned}
    output = "" if y_scale else node.outputs[0]
    result = to.node(node, "Gemm", operands, output, **attributes)
    if y_scale:
        to.rounded(node, result, [name for name in (y_scale, y_zero) if name], node.outputs[0])
    return True


def _binary(operator: str) -> Rewrite:
    def rewrite(to: Rewriter, node: Node) -> bool:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = _padded(node, 8)
        pairs = [[name for name in names if name] for names in ((a, a_scale, a_zero), (b, b_scale, b_zero))]
        result = to.node(node, operator, [to.restored(node, names) for names in pairs])
        to.rounded(node, result, [name for name in (y_scale, y_zero) if name], node.outputs[0])
        return True

    return rewrite


def _unary(operator: str, oldest: int = 1) -> Rewrite:
    def rewrite(to: Rewriter, node: Node) -> bool:
        x, x_scale, x_zero, y_scale, y_zero = _padded(node, 5)
        if node.get("channels_last", 0) or node.get("opset", oldest) < oldest:
            return False
        restored = to.restored(node, [name for name in (x, x_scale, x_zero) if name])
        result = to.node(node, operator, [restored], **node.attributes)
        to.rounded(node, result, [name for name in (y_scale, y_zero) if name], node.outputs[0])
        return True

    return rewrite


for _name, _operator in (("QLinearAdd", "Add"), ("QLinearMul", "Mul")):
    _REWRITES[MICROSOFT, _name] = _binary(_operator)
for _name in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid"):
    _REWRITES[MICROSOFT, f"QLinear{_name}"] = _unary(_name)
_REWRITES[MICROSOFT, "QLinearSoftmax"] = _unary("Softmax", _OLDEST_AXIS)


@_rewrite("QLinearConcat", MICROSOFT)
def _concat(to: Rewriter, node: Node) -> bool:
    y_scale, y_zero, *rest = node.inputs
    parts = [rest[place : place + 3] for place in range(0, len(rest), 3)]
    result = to.node(node, "Concat", [to.restored(node, part) for part in parts], axis=node.get("axis", 0))
    to.rounded(node, result, (y_scale, y_zero), node.outputs[0])
    return True


def _dynamic(to: Rewriter, round_convolved: bool) -> dict[str, Callable[[Rewriter, Node], None]]:
    """What to do with each node of the products of dynamically quantized data, by its first output.

    ONNX Runtime writes such a product as DynamicQuantizeLinear, MatMulInteger or ConvInteger, Cast, and a
    multiplication by the product of both scales.
    """
    found: dict[str, Callable[[Rewriter, Node], None]] = {}
    readers: dict[str, list[Node]] = {}
    for node in to.before.graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for node in to.before.graph.nodes:
        if node.domain or node.operator not in _PRODUCTS:
            continue
        matched = _product(to, node, readers)
        if matched is None:
            continue
        last, scale = matched
        for gone in (node, readers[node.outputs[0]][0]):
            found[gone.outputs[0]] = lambda rewriter, item: None
        found[last.outputs[0]] = _float_product(node, scale, round_convolved)
    return found


def _product(to: Rewriter, node: Node, readers: dict[str, list[Node]]) -> tuple[Node, str] | None:
    """The multiplication that ends a product, and the name of the weight's scale."""
    data, weight, data_zero, weight_zero = _padded(node, 4)
    source = to.makers.get(data)
    if source is None or source.operator != "DynamicQuantizeLinear" or data_zero != source.outputs[2]:
        return None
    if not to.all_stored([name for name in (weight, weight_zero) if name]):
        return None
    cast = _only(to, node.outputs[0], readers)
    last = None if cast is None or cast.operator != "Cast" else _only(to, cast.outputs[0], readers)
    if cast is None or last is None or last.operator != "Mul" or cast.get("to") != _FLOAT:
        return None
    factors = [name for name in last.inputs if name != cast.outputs[0]]
    scales = to.makers.get(factors[0]) if factors else None
    if scales is None or scales.operator != "Mul" or source.outputs[1] not in scales.inputs:
        return None
    own = [name for name in scales.inputs if name != source.outputs[1]]
    return (last, own[0]) if own and own[0] in to.constants else None


def _only(to: Rewriter, name: str, readers: dict[str, list[Node]]) -> Node | None:
    """The node that alone reads a tensor."""
    return readers[name][0] if to.reads[name] == 1 and name in readers else None


def _float_product(node: Node, scale: str, round_convolved: bool) -> Callable[[Rewriter, Node], None]:
    def rewrite(to: Rewriter, last: Node) -> None:
        source = to.makers[node.inputs[0]].inputs[0]
        names = [name for name in (node.inputs[1], scale, _padded(node, 4)[3]) if name]
        if node.operator == "ConvInteger":
            flat = to.constants[scale].reshape(-1)
            names[1] = to.stored(node, flat if flat.numel() > 1 else flat.reshape(()))
            data = to.node(node, DYNAMIC, [source]) if round_convolved else source
            to.node(node, "Conv", [data, to.restored(node, names, 0)], last.outputs[0], **node.attributes)
        else:
            operands = [to.node(node, DYNAMIC, [source]), to.restored(node, names, -1)]
            to.node(node, "MatMul", operands, last.outputs[0])

    return rewrite
