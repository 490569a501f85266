"""The nodes of an ONNX file that make one tensor together, and what they are called in the source."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from converters.onnx._arithmetic import is_scaffolding
from converters.onnx._graph import Graph
from converters.onnx.layers import source_path

SAME = frozenset({"DequantizeLinear", "Dropout", "Identity"})
"""Operators whose result says nothing that what they read does not say."""
INTEGERS = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"})
"""Operators that make integers whose scale is only known in a run."""
_FOLLOWS = frozenset(
    "BatchNormalization Celu Clip Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu QuantizeLinear Relu Selu Sigmoid "
    "Softplus Softsign Swish Tanh ThresholdedRelu".split()
)
_BIASED = frozenset({"Add", "Mul"})
_QUANTIZED = "_quant"  # what ONNX Runtime's quantizer puts behind the names of nodes
_ROUNDS = ("DequantizeLinear", "QuantizeLinear")


def chain_of(name: str, shown: Collection[str], graph: Graph) -> list[Any]:
    """The nodes that make a tensor together, the first of them first: a convolution, its activation, its rounding.

    Args:
        name: Of the tensor.
        shown: Tensors that stand for themselves: a chain begins behind them.
        graph: It is in.
    """
    chain = [graph.producers[name]]
    while True:
        source = _continues(chain[0], graph)
        if source is None or source in shown or source not in graph.producers:
            return chain
        if len(graph.consumers.get(source, [])) > 1 and chain[0].op_type not in SAME:
            return chain
        chain.insert(0, graph.producers[source])


def _continues(node: Any, graph: Graph) -> str | None:
    """What a node that belongs to the one before reads of it."""
    inner = [str(name) for name in node.input if name and name not in graph.constants]
    if is_scaffolding(node, graph) or _casts_integers(node, graph):
        # One of the two operands of such a product is itself made of scales.
        made = (name for name in inner if name in graph.producers)
        return next((name for name in made if graph.producers[name].op_type in ("Cast", "Mul", *INTEGERS)), None)
    follows = node.op_type in _FOLLOWS or node.op_type in SAME or (node.op_type in _BIASED and len(inner) == 1)
    return inner[0] if follows and inner else None


def _casts_integers(node: Any, graph: Graph) -> bool:
    maker = graph.produced_by(node, 0)
    return node.op_type == "Cast" and maker is not None and maker.op_type in INTEGERS


def module_of(chain: list[Any]) -> str:
    """Module paths of a chain, joined by ``+``.

    Where no node has one: the name of the first, which holds scopes in files of TensorFlow's converters.
    """
    paths = list(dict.fromkeys(filter(None, map(source_path, chain))))
    named = str(chain[0].name) if chain[0].op_type not in _ROUNDS else ""
    return "+".join(paths) or named.removesuffix(_QUANTIZED)
