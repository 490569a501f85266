"""QuantizeLinear and DequantizeLinear as pairs: kept as the conversions that PT2E writes, or taken out.

A pair with a stored scale and zero point stands for an activation in 8 bits. In a program that is to stay quantized it
becomes two operators of ``quantized_decomposed``, signed, as XNNPACK and TFLite want them: uint8 with zero point z is
int8 with z - 128 and the same scale. In a float program only its saturation is left, which is more than a detail: ONNX
Runtime's quantizer drops a Relu whose result the range of the pair cuts off anyway. Or, where a user wants the numbers
of the quantized file in float32, the pair rounds in floating point.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.onnx_import.graph import Model, Node, captured
from converters.onnx_import.integer_operators import DYNAMIC, Rewriter, reads_of, rewritten
from converters.onnx_import.operators import INTERNAL

QUANTIZE, DEQUANTIZE, SATURATE = "Quantize", "Dequantize", "Saturate"
ROUND, ROUND_DYNAMIC = "Round", "RoundDynamic"
"""Internal operators; see :mod:`converters.onnx_import.operators.quantization`."""

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
_EIGHT_BITS = ("int8", "uint8")
_SHIFT = 128
_MOVES = frozenset(
    "DepthToSpace Expand Flatten Gather GatherElements GatherND Identity MaxPool Reshape Slice SpaceToDepth Split"
    " Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators that give integers of the parameters that they take."""


class Activations(enum.Enum):
    """What becomes of activations that the file rounds to 8 or 16 bits."""

    INTEGERS = "integers"
    """Those of 8 bits stay conversions, for a quantized program."""
    ROUNDED = "rounded"
    """Floats that are rounded as in the file."""
    FLOAT = "float"
    """Floats that end where the range of the integers does."""


@dataclass(frozen=True)
class Parameters:
    """How integers stand for floats: ``(integer - zero) * scale``, from ``low`` to ``high``."""

    scale: float
    zero: int
    dtype: str

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest float."""
        low, high = _LIMITS[self.dtype]
        return (low - self.zero) * self.scale, (high - self.zero) * self.scale

    def attributes(self, operator: str) -> dict[str, Any]:
        """Attributes of an internal operator; conversions have the same in int8."""
        if operator == SATURATE:
            return dict(zip(("low", "high"), self.ends, strict=True))
        if operator == ROUND:
            least, most = _LIMITS[self.dtype]
            return {"scale": self.scale, "zero": self.zero, "least": least, "most": most}
        zero = self.zero - _SHIFT if self.dtype == "uint8" else self.zero
        return {"scale": self.scale, "zero": zero}


@dataclass(frozen=True)
class Stored:
    """A weight that the file stores as integers.

    Attributes:
        integers: As the file has them.
        scale, zero: Scalars, or one per place of ``axis``; ``zero`` may be ``None``.
        axis: Of the scales.
    """

    integers: Any
    scale: Any
    zero: Any
    axis: int


@dataclass
class Quantized:
    """A model whose conversions are told apart.

    Attributes:
        model: With internal operators for pairs.
        weights: Stored as integers.
        pairs: How many activations are rounded.
        wide: How many of them to 16 bits.
    """

    model: Model
    weights: list[Stored] = field(default_factory=list)
    pairs: int = 0
    wide: int = 0

    def notes(self, activations: Activations) -> list[str]:
        """What was kept and what was not, in sentences."""
        if activations is Activations.ROUNDED:
            return [
                f"The model arrived quantized. Its {self.pairs} rounded activations are rounded in floating point, by "
                "several operators each: the numbers are those of the file, the speed is not."
            ]
        if activations is Activations.FLOAT:
            return [
                f"The model arrived quantized. Kept: the values of its quantized weights ({len(self.weights)}), and "
                f"where the ranges of its activations end. Not kept: the rounding of its activations ({self.pairs})."
            ]
        if not self.wide:
            return []
        return [f"{self.wide} activations of 16 bits are not rounded: only those of 8 bits stay integers."]


def told_apart(model: Model, activations: Activations) -> Quantized:
    """Find pairs of conversions and stored weights, operators on integers included.

    Args:
        model: The file.
        activations: What to make of the pairs.
    """
    plain = rewritten(model, round_convolved=activations is Activations.ROUNDED)
    if not any(node.operator in ("DequantizeLinear", DYNAMIC) for node in plain.graph.nodes):
        return Quantized(plain)
    return _Pairs(plain, activations).run()


class _Pairs:
    def __init__(self, model: Model, activations: Activations) -> None:
        self.keep = activations is Activations.INTEGERS
        self.round = activations is Activations.ROUNDED
        self.to = Rewriter(model)
        self.to.nodes = list(model.graph.nodes)
        self.found = Quantized(model)
        self.ends: dict[str, tuple[float, float]] = {}  # of tensors that are saturated

    def run(self) -> Quantized:
        self._separate_moves()
        nodes = self.to.nodes
        reads = reads_of(dataclasses.replace(self.to.before.graph, nodes=nodes))
        readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        paired = {
            node.outputs[0]: own
            for node in nodes
            if (own := self._parameters(node, "QuantizeLinear")) is not None
            and len(readers.get(node.outputs[0], ())) == reads[node.outputs[0]] > 0
            and all(self._parameters(reader, "DequantizeLinear") == own for reader in readers[node.outputs[0]])
        }
        self.to.nodes = []
        for node in nodes:
            self._place(node, paired)
        self.found.model = self.to.model()
        return self.found

    def _place(self, node: Node, paired: dict[str, Parameters]) -> None:
        """Add a node as it is to be imported."""
        if node.operator == "QuantizeLinear" and node.outputs[0] in paired:
            self._pair_start(node, paired[node.outputs[0]])
        elif node.operator == "DequantizeLinear" and node.inputs[0] in paired:
            own = paired[node.inputs[0]]
            stays = self.keep and own.dtype in _EIGHT_BITS
            self._internal(node, DEQUANTIZE if stays else "", node.inputs[:1], node.outputs, own)
            if not stays and not self.round:
                self.ends[node.outputs[0]] = self.ends[node.inputs[0]]
        elif node.operator == DYNAMIC and node.domain == INTERNAL:
            self.found.pairs += 1
            operator = DYNAMIC if self.keep else ROUND_DYNAMIC if self.round else ""
            self._internal(node, operator, node.inputs, node.outputs, None)
        else:
            if node.operator == "DequantizeLinear" and node.inputs[0] in self.to.constants:
                self._remember(node)
            if not self.keep or not self._alone(node):
                self.to.nodes.append(node)
            if node.operator in _MOVES and node.inputs[0] in self.ends:
                self.ends |= dict.fromkeys(node.outputs, self.ends[node.inputs[0]])

    def _pair_start(self, node: Node, own: Parameters) -> None:
        self.found.pairs += 1
        if own.dtype not in _EIGHT_BITS:
            self.found.wide += 1
        operator = QUANTIZE if self.keep and own.dtype in _EIGHT_BITS else ROUND if self.round else SATURATE
        if operator == SATURATE:
            (low, high), before = own.ends, self.ends.get(node.inputs[0])
            if before is not None and low <= before[0] and before[1] <= high:
                operator = ""
            self.ends[node.outputs[0]] = own.ends if operator or before is None else before
        self._internal(node, operator, node.inputs[:1], node.outputs, own)

    def _alone(self, node: Node) -> bool:
        """Place a conversion that has no partner: integers go in or out, or are computed with.

        One of int8 is a conversion as it is. Any other is computed in floats, with a pair on its float side, so that
        the layer there is an integer one all the same.
        """
        found = [self._parameters(node, word) for word in ("QuantizeLinear", "DequantizeLinear")]
        own = found[0] or found[1]
        if own is None or own.dtype not in _EIGHT_BITS:
            return False
        if own.dtype == "int8":
            self._internal(node, QUANTIZE if found[0] else DEQUANTIZE, node.inputs[:1], node.outputs, own)
            return True
        inner, outer = (self.to.name(node.outputs[0]) for _ in range(2))
        if found[1]:
            self.to.nodes.append(dataclasses.replace(node, outputs=[outer]))
            self._pair(node, outer, inner, node.outputs[0], own)
        else:
            self._pair(node, node.inputs[0], inner, outer, own)
            self.to.nodes.append(dataclasses.replace(node, inputs=[outer, *node.inputs[1:]]))
        return True

    def _pair(self, node: Node, before: str, middle: str, behind: str, own: Parameters) -> None:
        self._internal(node, QUANTIZE, [before], [middle], own)
        self._internal(node, DEQUANTIZE, [middle], [behind], own)

    def _internal(
        self, node: Node, operator: str, inputs: Sequence[str], outputs: Sequence[str], own: Parameters | None
    ) -> None:
        """Add an internal operator in the place of a node; without a name, nothing is computed."""
        attributes: dict[str, Any] = {}
        if own is not None:
            attributes = own.attributes(operator)
        made = Node(
            operator or "Identity",
            INTERNAL if operator else "",
            self.to.version,
            node.name,
            node.path,
            attributes,
            list(inputs),
            list(outputs),
        )
        self.to.nodes.append(made)

    def _remember(self, node: Node) -> None:
        scale = self.to.constants.get(node.inputs[1])
        zero = self.to.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        integers = self.to.constants[node.inputs[0]]
        if scale is not None and not node.get("block_size", 0) and str(integers.dtype)[6:] in _EIGHT_BITS:
            self.found.weights.append(Stored(integers, scale, zero, node.get("axis", 1)))

    def _parameters(self, node: Node, operator: str) -> Parameters | None:
        """Of a conversion with one stored scale and zero point; ``None`` for other ones."""
        if node.operator != operator or node.domain or node.inputs[0] in self.to.constants:
            return None
        names = [name for name in node.inputs[1:] if name]
        if not self.to.all_stored(names) or node.get("precision", 0) not in (0, 1):
            return None
        scale, *zeros = [self.to.constants[name] for name in names]
        if scale.numel() != 1 or str(scale.dtype) != "torch.float32" or any(item.numel() != 1 for item in zeros):
            return None
        if not zeros and node.get("output_dtype", 0):
            return None
        dtype = str(zeros[0].dtype)[6:] if zeros else "uint8"
        if dtype not in _LIMITS:
            return None
        return Parameters(float(scale), int(zeros[0]) if zeros else 0, dtype)

    def _separate_moves(self) -> None:
        """Put conversions around operators that move integers, as ONNX Runtime's optimizer takes them away."""
        known: dict[str, list[str]] = {}  # integers that a conversion made: scale and zero point
        nodes, self.to.nodes = self.to.nodes, []
        for node in nodes:
            if self._parameters(node, "QuantizeLinear") is not None:
                known[node.outputs[0]] = node.inputs[1:]
            moved = node.inputs if node.operator == "Concat" else node.inputs[:1]
            given = {tuple(known.get(name, ())) for name in moved}
            takes = (node.operator in _MOVES or node.operator == "Concat") and not node.domain and not captured(node)
            if not takes or () in given or len(given) != 1 or (node.operator == "MaxPool" and node.wanted > 1):
                self.to.nodes.append(node)
                continue
            (names,) = given
            restored = [self.to.restored(node, [name, *names]) for name in moved]
            made = [self.to.name(name) if name else "" for name in node.outputs]
            self.to.nodes.append(
                dataclasses.replace(node, inputs=[*restored, *node.inputs[len(moved) :]], outputs=made)
            )
            for inner, name in zip(made, node.outputs, strict=True):
                if name:
                    self.to.rounded(node, inner, names, name)
                    known[name] = list(names)
