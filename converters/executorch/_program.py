"""A ``.pte`` file: its program, and the segments behind it."""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from converters.executorch._flatbuffer import Schema, Table
from edgekit.errors import ConversionError, UnsupportedError

SIGNATURE = "edgekit_signature"
"""A constant method of files that edgekit wrote: the user's names of inputs and outputs."""

MODULES = "edgekit_modules"
"""Another one: which module of the source each operator is from (:mod:`converters.executorch._modules`)."""

_HEADER_MAGIC = b"eh00"
_DTYPES = {
    "BYTE": "uint8", "CHAR": "int8", "SHORT": "int16", "INT": "int32", "LONG": "int64", "HALF": "float16",
    "FLOAT": "float32", "DOUBLE": "float64", "QINT8": "int8", "QUINT8": "uint8", "QINT32": "int32",
    "BITS16": "uint16",
}  # fmt: skip
_BITS = {"bool": 8, "bfloat16": 16}
# Values that are arguments of the method rather than tensors.
_SCALARS = {"Int": "int64", "Bool": "bool", "Double": "float64"}


@dataclass(frozen=True)
class TensorValue:
    """A tensor of a method.

    Attributes:
        dtype: NumPy name.
        sizes: Upper bounds where ``dynamic``.
        dynamic: Whether it may be smaller at run time; the file does not say along which dimensions.
        constant: What identifies its stored content, or ``None``.
        external: Whether that content is in another file.
    """

    dtype: str
    sizes: tuple[int, ...]
    dynamic: bool = False
    constant: str | None = None
    external: bool = False

    @property
    def elements(self) -> int:
        """Number of elements, at most."""
        return math.prod(self.sizes)

    @property
    def stored_bytes(self) -> int:
        """Size of its content."""
        bits = _BITS.get(self.dtype) or int("".join(filter(str.isdigit, self.dtype.partition("_")[0][-2:])))
        return self.elements * bits // 8


@dataclass(frozen=True)
class Call:
    """One instruction of a method: a kernel, or a delegate.

    Attributes:
        operator: ``aten::add.out``, or the delegate's id.
        arguments: Its arguments, as tables of the schema.
        delegate: Index of the delegate, or ``None`` for a kernel.
        place: Where in the method, for a reader.
    """

    operator: str
    arguments: tuple[Table | None, ...]
    delegate: int | None
    place: str


class Program:
    """A ``.pte`` file; call within :func:`converters.facts.unchecked_reading`.

    Raises:
        ConversionError: It is truncated.
        UnsupportedError: The installed executorch has no schema of it.
    """

    def __init__(self, path: Path) -> None:
        self.data = memoryview(path.read_bytes())
        size, self.base = len(self.data), 0
        if self.data[8:12] == _HEADER_MAGIC:
            size, self.base = struct.unpack_from("<QQ", self.data, 16)
        if size > len(self.data):
            raise ConversionError(
                f"{path}: truncated: its program should have {size} bytes, all of it has {len(self.data)}.",
                hint="Copy, download or convert it again.",
            )
        self.root = load_schema("exir/_serialize/program.fbs").read(self.data[:size])
        for index in range(len(self.root.tables("segments"))):
            self.segment(index)  # all of them are there

    @cached_property
    def methods(self) -> list[Table]:
        """Methods that compute; ``forward`` first."""
        found = [plan for plan in self.root.tables("execution_plan") if not _is_constant(plan)]
        return sorted(found, key=lambda plan: plan.text("name") != "forward")

    @cached_property
    def constants(self) -> dict[str, str]:
        """Text that constant methods return."""
        found = {}
        for plan in filter(_is_constant, self.root.tables("execution_plan")):
            values = [self.value(plan, index) for index in plan.integers("outputs")]
            if len(values) == 1 and values[0] is not None and values[0].label == "String":
                found[plan.text("name")] = values[0].text("string_val")
        return found

    @cached_property
    def named_data(self) -> dict[str, memoryview]:
        """Content that delegates refer to by name."""
        entries = self.root.tables("named_data")
        return {entry.text("key"): self.segment(entry.integer("segment_index")) for entry in entries}

    def segment(self, index: int) -> memoryview:
        """One segment behind the program."""
        entry = self.root.tables("segments")[index]
        start = self.base + entry.integer("offset")
        if start + entry.integer("size") > len(self.data):
            raise IndexError(f"segment {index} ends behind the end of the file")
        return self.data[start : start + entry.integer("size")]

    def delegate_content(self, plan: Table, index: int) -> memoryview:
        """What a delegate was given to run."""
        place = plan.tables("delegates")[index].needed("processed")
        if place.choice("location") == "INLINE":
            return self.root.tables("backend_delegate_data")[place.integer("index")].content("data")
        return self.segment(place.integer("index"))

    def value(self, plan: Table, index: int) -> Table | None:
        """A value of a method; ``None`` for null."""
        if index < 0:
            raise IndexError(f"value {index}")
        return plan.tables("values")[index].table("val")

    def calls(self, plan: Table) -> Iterator[Call]:
        """The instructions of a method that run something."""
        operators = [f"{item.text('name')}.{item.text('overload')}" for item in plan.tables("operators")]
        delegates = [item.text("id") for item in plan.tables("delegates")]
        values = [item.table("val") for item in plan.tables("values")]
        number = 0
        for chain in plan.tables("chains"):
            for instruction in chain.tables("instructions"):
                what = instruction.needed("instr_args")
                place, number = f"{plan.text('name')}, instruction {number}", number + 1
                if what.label not in ("KernelCall", "DelegateCall"):
                    continue
                arguments = tuple(values[index] for index in what.integers("args"))
                if what.label == "KernelCall":
                    operator = operators[what.integer("op_index")].removesuffix(".")
                    yield Call(operator, arguments, None, place)
                else:
                    index = what.integer("delegate_index")
                    yield Call(delegates[index], arguments, index, place)

    def branches(self, plan: Table) -> bool:
        """Whether a method decides at run time what it runs."""
        instructions = (item for chain in plan.tables("chains") for item in chain.tables("instructions"))
        return any(item.needed("instr_args").label == "JumpFalseCall" for item in instructions)


def load_schema(name: str) -> Schema:
    """A schema that the installed executorch ships; found without importing the package.

    Raises:
        UnsupportedError: There is none.
    """
    spec = importlib.util.find_spec("executorch")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / name).is_file():
            return Schema.load(Path(folder) / name)
    raise UnsupportedError(
        f"The installed executorch has no {name}, by which edgekit reads .pte files.",
        hint="pip install 'edgekit[executorch]'",
    )


def tensor(value: Table | None) -> TensorValue | None:
    """The tensor in a value; ``None`` for other values."""
    if value is None or value.label != "Tensor":
        return TensorValue(_SCALARS[value.label], ()) if value is not None and value.label in _SCALARS else None
    extra = value.table("extra_tensor_info")
    external = extra is not None and extra.choice("location") == "EXTERNAL"
    constant = None
    if external and extra is not None:
        constant = extra.text("fully_qualified_name")
    elif value.integer("data_buffer_idx") and not value.has("allocation_info"):
        constant = f"buffer {value.integer('data_buffer_idx')}"
    kind = value.choice("scalar_type")
    return TensorValue(
        dtype=_DTYPES.get(kind, kind.lower()),
        sizes=value.integers("sizes"),
        dynamic=value.choice("shape_dynamism") != "STATIC",
        constant=constant,
        external=external,
    )


def _is_constant(plan: Table) -> bool:
    return not any(chain.tables("instructions") for chain in plan.tables("chains")) and not plan.integers("inputs")
