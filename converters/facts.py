"""What ``edgekit inspect`` says about a model file, in the same words for every format.

Each format turns its operators into :class:`OperatorFacts`; :func:`assemble` does the counting that is the
same everywhere.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converters.layers import MOVES, Layer
from edgekit.errors import ConversionError
from edgekit.types import FloatOperator, Signature

# What following an offset that leads astray, or taking bytes for text or sizes, ends in.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, ArithmeticError)


@dataclass(frozen=True)
class OperatorFacts:
    """One operator of a file.

    Attributes:
        operator: Type, as the format calls it.
        name: Module path of the source model where the file has kept it, else the name in the file.
        computes: On ``float`` or ``integer`` numbers; ``none`` for operators that move or convert data.
        weights: Dtype its weights are stored in; empty when it has none.
        activations: Dtype of its data, or ``dynamic`` when floats are quantized as they come in.
        macs: Multiply-accumulates of one run; ``None`` when they cannot be derived.
        macs_unknown: The reason why not.
        delegated: Whether an accelerated backend runs it, in formats where the file itself says so.
    """

    operator: str
    name: str
    computes: Literal["float", "integer", "none"]
    weights: str = ""
    activations: str = ""
    macs: int | None = 0
    macs_unknown: str = ""
    delegated: bool = True

    @property
    def scheme(self) -> str:
        """Its scheme, in the words of :mod:`converters.schemes`; empty for operators that show none."""
        if self.computes == "integer":
            if self.activations == "dynamic":  # with 4 bits, the weights are what the scheme is about
                return "int8-dynamic" if self.weights == "int8" else f"{self.weights}-weights"
            return "int16x8" if self.activations == "int16" else "int8"
        if self.computes == "float" and self.weights.startswith(("int", "uint")):
            # Rounded to 16 bits on its way, even where the runtime computes in float between.
            return "int16x8" if self.activations == "int16" else f"{self.weights}-weights"
        return self.weights if self.computes == "float" else ""


@dataclass(frozen=True)
class Contents:
    """What a format reads from a file; :func:`assemble` makes facts of it.

    Attributes:
        operators: All of them, in execution order.
        parameters: Elements of all weights, each stored tensor counted once; indices, shapes and quantization
            parameters are no weights.
        weights_bytes_by_dtype: Bytes of all stored constants, each counted once.
        uncounted: Types of operators whose multiply-accumulates no formula here covers.
        assumption: What the multiply-accumulates take for granted, such as a batch of 1.
    """

    operators: Sequence[OperatorFacts]
    parameters: int
    weights_bytes_by_dtype: Mapping[str, int]
    uncounted: Iterable[str] = ()
    assumption: str = ""


@dataclass(frozen=True)
class LayerFacts:
    """One layer, in the words that rules use (:mod:`converters.layers`)."""

    path: str
    kind: str
    operator: str


@dataclass(frozen=True)
class ModelFacts:
    """The facts of one file. JSON by :func:`edgekit.types.to_json`.

    Attributes:
        format: Title of the source or target: ``TFLite``.
        kind: What kind of file of that format it is.
        signature: Inputs and outputs in order, ``None`` for dynamic sizes.
        operators: Type to count.
        parameters: Elements of all weights, each stored tensor counted once.
        weights_bytes_by_dtype: Dtype to bytes of all stored constants, each counted once.
        macs: Multiply-accumulates of one run, or ``None`` when they cannot be derived.
        macs_note: Why they cannot, or what is taken for granted or left out.
        quantization: Scheme of the operators that carry weights or are quantized; several joined by a plus.
        quantized_operators: Type to count of the operators that compute on integers.
        stayed_float: Operators that compute in floating point in a file whose others do not.
        undelegated: Operators that the accelerated backend does not run.
        memory_planned_bytes: Working memory that the file itself asks for; ``None`` where it does not say.
        producer: Program that made the file, as the file says.
        metadata: Further text in the file.
        notes: What a user should know, a sentence each.
        layers: What ``--exclude`` and recipes can name, in execution order; empty where that is not known.
    """

    format: str
    kind: str
    signature: Signature
    operators: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    weights_bytes_by_dtype: Mapping[str, int] = field(default_factory=dict)
    macs: int | None = None
    macs_note: str = ""
    quantization: str = ""
    quantized_operators: Mapping[str, int] = field(default_factory=dict)
    stayed_float: tuple[FloatOperator, ...] = ()
    undelegated: tuple[FloatOperator, ...] = ()
    memory_planned_bytes: int | None = None
    producer: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: tuple[LayerFacts, ...] = ()


def layer_facts(layers: Iterable[Layer]) -> tuple[LayerFacts, ...]:
    """What ``inspect`` says about layers; those that move data are left out, no rule is about them."""
    return tuple(LayerFacts(layer.path, layer.kind, layer.operator) for layer in layers if layer.kind not in MOVES)


def assemble(
    contents: Contents,
    *,
    format: str,  # noqa: A002 - the field's name
    kind: str,
    signature: Signature,
    memory_planned_bytes: int | None = None,
    producer: str = "",
    metadata: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> ModelFacts:
    """Facts from what a format has read; the arguments are the attributes of :class:`ModelFacts`."""
    operators = contents.operators
    integer = [item for item in operators if item.computes == "integer"]
    macs, macs_note = _macs(contents)
    return ModelFacts(
        format=format,
        kind=kind,
        signature=signature,
        operators=_counts(item.operator for item in operators),
        parameters=contents.parameters,
        weights_bytes_by_dtype=dict(sorted(contents.weights_bytes_by_dtype.items(), key=lambda item: -item[1])),
        macs=macs,
        macs_note=macs_note,
        quantization=_schemes(operators),
        quantized_operators=_counts(item.operator for item in integer),
        stayed_float=float_ones(operators) if integer else (),
        undelegated=tuple(FloatOperator(item.operator, item.name) for item in operators if not item.delegated),
        memory_planned_bytes=memory_planned_bytes,
        producer=producer,
        metadata=dict(metadata or {}),
        notes=tuple(notes),
    )


def float_ones(operators: Iterable[OperatorFacts]) -> tuple[FloatOperator, ...]:
    """The operators that compute in floating point."""
    return tuple(FloatOperator(item.operator, item.name) for item in operators if item.computes == "float")


@contextmanager
def unchecked_reading(path: Path, format: str, reader: str) -> Iterator[None]:  # noqa: A002 - as in ModelFacts
    """Turns what reading a damaged file ends in into a message.

    Args:
        path: The file.
        format: Title of its format.
        reader: The package whose schema is used.

    Raises:
        ConversionError: The body met content that makes no sense.
    """
    try:
        yield
    except _DAMAGE as error:
        raise ConversionError(
            f"{path}: this {format} file is truncated, damaged or newer than the installed {reader} "
            f"({type(error).__name__}: {error}).",
            hint="Copy, download or convert it again, and compare its size with the original's.",
        ) from error


def _counts(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, most frequent first."""
    return dict(Counter(names).most_common())


def _schemes(operators: Sequence[OperatorFacts]) -> str:
    """The schemes of a file, most frequent first.

    Those of operators that compute on integers, else of those whose weights are integers, else float ones.
    """
    integer = Counter(item.scheme for item in operators if item.computes == "integer")
    stored = Counter(item.scheme for item in operators if item.scheme.endswith("-weights"))
    rest = Counter(item.scheme for item in operators if item.scheme)
    return " + ".join(scheme for scheme, _ in (integer or stored or rest).most_common())


def _macs(contents: Contents) -> tuple[int | None, str]:
    uncounted = Counter(contents.uncounted)
    notes = [contents.assumption] if contents.assumption else []
    if uncounted:
        listed = ", ".join(f"{name} ({count})" for name, count in uncounted.most_common())
        notes.append(f"not counted: {listed}")
    total = 0
    for item in contents.operators:
        if item.macs is None:
            return None, f"{item.operator} {item.name}: {item.macs_unknown}"
        total += item.macs
    return total, "; ".join(notes)
