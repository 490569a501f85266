"""How much a file stores, and how much work one run of it is: rows per tensor and per operator, and their sums.

Two figures are defined here for all formats:

- *Bytes moved* of an operator: its weights, inputs and outputs once each, as wide as it takes them; those of a file are
  the sum over its operators. So each tensor between two operators counts twice, written and read. What only looks at
  data in another shape (RESHAPE, Squeeze, …) moves nothing; what picks rows or slices (GATHER, Slice, …) reads as much
  as it writes; what a quantized operator's kernel does on the way in and out (DequantizeLinear, QuantizeLinear) is part
  of it. A runtime that fuses more than the file says moves less, and caches keep part of it from memory.
- *Arithmetic intensity* is ``2 · MACs / bytes moved``, in operations per byte (Williams, Waterman and Patterson 2009,
  "Roofline"): below the ratio of a machine's peak arithmetic to its memory bandwidth, memory is the limit.

Multiply-accumulates (MACs) are those of convolutions and matrix products, borders included: a window counts whole where
it reaches into the padding. Elementwise work (activations, normalizations, pooling) is not counted at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypedDict

LARGEST = 10
"""How many stored tensors are named."""

_BITS = {"bool": 8, "bfloat16": 16, "complex64": 64, "complex128": 128, "float4_e2m1fn": 4}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor whose content is in a file.

    Attributes:
        name: As the file calls it.
        dtype: NumPy name.
        shape: Of it; one that is packed may hold fewer or more elements than its bytes suggest.
        size_bytes: Of its content.
        operator: Type of the first operator that reads it; empty when none does, or that is not known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    operator: str = ""


@dataclass(frozen=True)
class OperatorWork:
    """What one operator is to a run.

    Attributes:
        index: Its place among all operators of the file, in execution order.
        operator: Type, as the format calls it.
        name: Module path of the source model where the file has kept it, else the name in the file.
        node: What a runtime calls it: ONNX the node's name, TFLite ``SUBGRAPH:INDEX`` of the operator, ExecuTorch the
            method and instruction, or the delegate and its node.
        macs: Multiply-accumulates of one run; ``None`` when they cannot be derived.
        weights_bytes: Of the stored tensors that it reads.
        moved_bytes: See the module; ``None`` when a size is only known at run time.
        computes: On ``float`` or ``integer`` numbers; ``none`` for those that move or convert data.
        activations: Dtype of its data, or ``dynamic`` when floats are quantized as they come in.
        delegated: Whether an accelerated backend runs it, in formats where the file itself says so.
        explorer: Graph and node as Model Explorer calls them; ``None`` where it does not show the operator.
    """

    index: int
    operator: str
    name: str
    node: str
    macs: int | None
    weights_bytes: int
    moved_bytes: int | None
    computes: Literal["float", "integer", "none"]
    activations: str
    delegated: bool
    explorer: tuple[str, str] | None = None


class Stored(TypedDict):
    """Fields of :class:`converters.facts.ModelFacts` about stored tensors."""

    weights_bytes_by_operator: dict[str, int]
    largest_tensors: tuple[StoredTensor, ...]


def stored(tensors: Iterable[StoredTensor]) -> Stored:
    """The sums and the largest of the stored tensors of a file, each given once."""
    by_operator: Counter[str] = Counter()
    known = list(tensors)
    if any(item.operator for item in known):  # weights alone have no operators
        for item in known:
            by_operator[item.operator or "(none)"] += item.size_bytes
    largest = sorted(known, key=lambda item: (-item.size_bytes, item.name))[:LARGEST]
    return {"weights_bytes_by_operator": dict(by_operator.most_common()), "largest_tensors": tuple(largest)}


def bits_of(dtype: str) -> int:
    """Bits of one element, 0 of an unknown type: of a resource, a string, a sequence."""
    digits = "".join(letter if letter.isdigit() else " " for letter in dtype.partition("_")[0]).split()
    known = dtype.startswith(("float", "int", "uint", "bits"))
    return _BITS.get(dtype) or (int(digits[0]) if known and digits else 0)


def bytes_of(elements: int | None, dtype: str) -> int | None:
    """Bytes of so many elements, packed where they are smaller than a byte; ``None`` of an unknown number."""
    return None if elements is None else math.ceil(elements * bits_of(dtype) / 8)


def total(parts: Iterable[int | None]) -> int | None:
    """Their sum; ``None`` when one is unknown."""
    known = list(parts)
    return None if None in known else sum(part or 0 for part in known)


def arithmetic_intensity(macs: int | None, moved_bytes: int | None) -> float | None:
    """``2 · MACs / bytes moved``, in operations per byte; ``None`` when either is unknown or nothing is moved."""
    return None if macs is None or not moved_bytes else 2 * macs / moved_bytes
