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

from converters import work
from converters.layers import MOVES, Layer
from converters.work import OperatorWork, StoredTensor
from edgekit.errors import ConversionError
from edgekit.types import FloatOperator, Signature

# What following an offset that leads astray, or taking bytes for text or sizes, ends in.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, ArithmeticError)

_NOT_MOVED = "counted in converted files alone"


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
        node: What the runtime calls it, as in :class:`converters.work.OperatorWork`.
        weights_bytes: Of the stored tensors that it reads.
        moved_bytes: As :mod:`converters.work` defines them; ``None`` when they cannot be derived, as ``macs_unknown``
            says.
        explorer: Graph and node as Model Explorer calls them; ``None`` where it does not show the operator.
    """

    operator: str
    name: str
    computes: Literal["float", "integer", "none"]
    weights: str = ""
    activations: str = ""
    macs: int | None = 0
    macs_unknown: str = ""
    delegated: bool = True
    node: str = ""
    weights_bytes: int = 0
    moved_bytes: int | None = None
    explorer: tuple[str, str] | None = None

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
        stored: All stored tensors, each once.
        counted_shapes: Sizes of the inputs that multiply-accumulates are counted for, by name; empty where unknown.
        not_counted: Why nothing is counted at all: the file cannot be had at the sizes asked for.
        beside: Names of files beside it that belong to it.
        counts_moved: Whether the bytes that operators move are counted in this format.
    """

    operators: Sequence[OperatorFacts]
    parameters: int
    weights_bytes_by_dtype: Mapping[str, int]
    uncounted: Iterable[str] = ()
    assumption: str = ""
    stored: Sequence[StoredTensor] = ()
    counted_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    not_counted: str = ""
    beside: Sequence[str] = ()
    counts_moved: bool = True


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
        weights_bytes_by_operator: Type of operator to bytes of the stored constants that it is the first to read.
        largest_tensors: The ten largest stored constants.
        uncounted: Types of operators with multiply-accumulates that ``macs`` leaves out, to count: it is a lower bound.
        counted_shapes: Sizes of the inputs that ``macs`` and ``moved_bytes`` are for, by name; empty where unknown.
        moved_bytes: Of one run, as :mod:`converters.work` defines them; ``None`` when they cannot be derived.
        moved_note: Why they cannot.
        arithmetic_intensity: ``2 · macs / moved_bytes`` in operations per byte, or ``None``.
        beside: Names of files beside it that belong to it, such as ONNX's external weights.
        work: One row for each operator, in execution order; empty for sources.
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
    weights_bytes_by_operator: Mapping[str, int] = field(default_factory=dict)
    largest_tensors: tuple[StoredTensor, ...] = ()
    uncounted: Mapping[str, int] = field(default_factory=dict)
    counted_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    moved_bytes: int | None = None
    moved_note: str = _NOT_MOVED
    arithmetic_intensity: float | None = None
    beside: tuple[str, ...] = ()
    work: tuple[OperatorWork, ...] = ()


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
    moved, moved_note = _moved(contents)
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
        uncounted=_counts(contents.uncounted),
        counted_shapes=dict(contents.counted_shapes),
        moved_bytes=moved,
        moved_note=moved_note,
        arithmetic_intensity=work.arithmetic_intensity(macs, moved),
        beside=tuple(contents.beside),
        work=tuple(_work(index, item, contents) for index, item in enumerate(operators)),
        **work.stored(contents.stored),
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
    if contents.not_counted:
        return None, contents.not_counted
    notes = [contents.assumption] if contents.assumption else []
    if uncounted:
        listed = ", ".join(f"{name} ({count})" for name, count in uncounted.most_common())
        notes.append(f"not counted: {listed}")
    unknown = next((item for item in contents.operators if item.macs is None), None)
    if unknown is not None:
        return None, _why_unknown(unknown)
    return work.total(item.macs for item in contents.operators), "; ".join(notes)


def _moved(contents: Contents) -> tuple[int | None, str]:
    if not contents.counts_moved:
        return None, _NOT_MOVED
    if contents.not_counted:
        return None, contents.not_counted
    unknown = [item for item in contents.operators if item.moved_bytes is None]
    if unknown:
        return None, _why_unknown(unknown[0])
    return work.total(item.moved_bytes for item in contents.operators), contents.assumption


def _why_unknown(item: OperatorFacts) -> str:
    return f"{item.operator} {item.name}: {item.macs_unknown}"


def _work(index: int, item: OperatorFacts, contents: Contents) -> OperatorWork:
    return OperatorWork(
        index=index,
        operator=item.operator,
        name=item.name,
        node=item.node or item.name,
        macs=None if contents.not_counted else item.macs,
        weights_bytes=item.weights_bytes,
        moved_bytes=None if contents.not_counted else item.moved_bytes,
        computes=item.computes,
        activations=item.activations,
        delegated=item.delegated,
        explorer=item.explorer,
    )
