"""Flatbuffers as trees that can be changed, and written again.

:mod:`converters.executorch._flatbuffer` reads tables where they lie. A flatbuffer cannot grow in place, because its
offsets only point forward; so what is to be changed is read whole, and put together anew by the ``flatbuffers``
package. Only fields that are stored are kept, so that defaults of another version stay what they were.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from converters.executorch._flatbuffer import SCALARS, Schema, Table

ALIGNMENT = 16
"""Of vectors of bytes: the largest ``force_align`` in the schemas of ExecuTorch and of its XNNPACK delegate."""

_WRITERS = {
    "?": "PrependBool", "b": "PrependInt8", "B": "PrependUint8", "h": "PrependInt16", "H": "PrependUint16",
    "i": "PrependInt32", "I": "PrependUint32", "q": "PrependInt64", "Q": "PrependUint64", "f": "PrependFloat32",
    "d": "PrependFloat64",
}  # fmt: skip


@dataclass
class Record:
    """A table, unpacked.

    Attributes:
        kind: Its type in the schema.
        fields: The stored ones, by name: ``int``, ``float`` or ``bool``; ``str``; ``bytes`` for vectors of bytes; lists
            of numbers or of records; a record.
        label: For a union's content, the name of the member.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def __getitem__(self, name: str) -> Any:
        """A stored field."""
        return self.fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.fields[name] = value

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or what stands for it where it is not stored."""
        return self.fields.get(name, default)

    def items(self, name: str) -> list[Any]:
        """A vector that may be appended to; it is stored from now on."""
        found: list[Any] = self.fields.setdefault(name, [])
        return found


def unpack(table: Table) -> Record:
    """Read a table and all that it holds.

    Raises:
        IndexError, struct.error, ValueError: It is damaged.
    """
    record = Record(table.name, label=table.label)
    for name, declared in table.schema.tables[table.name].items():
        if not table.has(name):
            continue
        if declared.kind == "string":
            record.fields[name] = table.text(name)
        elif declared.kind in table.schema.tables and declared.is_vector:
            record.fields[name] = [unpack(item) for item in table.tables(name)]
        elif declared.kind in table.schema.tables or declared.kind in table.schema.unions:
            content = table.table(name)
            if content is not None:
                record.fields[name] = unpack(content)
        elif declared.is_vector:
            is_bytes = table.schema.base(declared.kind) in ("ubyte", "uint8")
            record.fields[name] = bytes(table.content(name)) if is_bytes else list(table.integers(name))
        else:
            record.fields[name] = table.number(name)
    return record


def pack(schema: Schema, root: Record, identifier: bytes) -> bytes:
    """Write a flatbuffer.

    Args:
        schema: Of the record.
        root: The root table.
        identifier: Four bytes that files of this kind carry.

    Returns:
        The flatbuffer. Where it starts must be a multiple of :data:`ALIGNMENT`.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_Writer(schema, builder).table(root), file_identifier=identifier)
    return bytes(builder.Output())


class _Writer:
    def __init__(self, schema: Schema, builder: Any) -> None:
        self.schema, self.builder = schema, builder

    def table(self, record: Record) -> int:
        """Write what a record refers to, then itself; returns where it is."""
        declared = self.schema.tables[record.kind]
        places = {name: self._behind(record.kind, name, value) for name, value in record.fields.items()}
        self.builder.StartObject(1 + max((item.slot for item in declared.values()), default=-1))
        for slot, code, value in sorted(self._slots(record, places), key=lambda item: -struct.calcsize(item[1])):
            getattr(self.builder, _WRITERS.get(code, "PrependUOffsetTRelative"))(value)
            self.builder.Slot(slot)
        return int(self.builder.EndObject())

    def _slots(self, record: Record, places: dict[str, int | None]) -> Iterator[tuple[int, str, Any]]:
        """Slot, code of its number or ``4s`` for an offset, and value."""
        for name, value in record.fields.items():
            declared, place = self.schema.tables[record.kind][name], places[name]
            if declared.kind in self.schema.unions:
                members = self.schema.unions[declared.kind].items()
                yield declared.slot - 1, "B", next(number for number, item in members if item[0] == value.label)
            if place is None:
                yield declared.slot, SCALARS[self.schema.base(declared.kind)], value
            else:
                yield declared.slot, "4s", place

    def _behind(self, kind: str, name: str, value: Any) -> int | None:
        """Where the content of a field is that is no number."""
        declared = self.schema.tables[kind][name]
        if isinstance(value, Record):
            return self.table(value)
        if isinstance(value, str):
            return int(self.builder.CreateString(value))
        if isinstance(value, bytes):
            return self._bytes(value)
        if not declared.is_vector:
            return None
        if declared.kind in self.schema.tables:
            places = [self.table(item) for item in value]
            return self._vector("PrependUOffsetTRelative", 4, places)
        code = SCALARS[self.schema.base(declared.kind)]
        return self._vector(_WRITERS[code], struct.calcsize(code), value)

    def _vector(self, writer: str, size: int, items: list[Any]) -> int:
        self.builder.StartVector(size, len(items), size)
        write = getattr(self.builder, writer)
        for item in reversed(items):
            write(item)
        return int(self.builder.EndVector())

    def _bytes(self, content: bytes) -> int:
        self.builder.Prep(ALIGNMENT, len(content))  # CreateByteVector aligns to the length before it alone
        return int(self.builder.CreateByteVector(content))
