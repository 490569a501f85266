"""Reads flatbuffers by the ``.fbs`` schemas that the executorch package ships.

ExecuTorch's own reader imports torch and the whole exporter, 10 to 20 seconds of it, and there is none for what
its delegates store; a schema file is small, of the installed version, and says all that is needed. Tables are
read as they are asked for, so weights are never copied.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

SCALARS = {  # codes of the struct module
    "bool": "?", "byte": "b", "int8": "b", "ubyte": "B", "uint8": "B", "short": "h", "int16": "h",
    "ushort": "H", "uint16": "H", "int": "i", "int32": "i", "uint": "I", "uint32": "I", "long": "q",
    "int64": "q", "ulong": "Q", "uint64": "Q", "float": "f", "float32": "f", "double": "d", "float64": "d",
}  # fmt: skip
_COMMENT = re.compile(r"//[^\n]*")
_BLOCK = re.compile(r"\b(enum|union|table)\s+(\w+)\s*(?::\s*(\w+)\s*)?\{([^}]*)\}")
_FIELD = re.compile(r"(\w+)\s*:\s*(\[?)\s*([\w.]+)\s*\]?\s*(?:=\s*([\w.+-]+))?\s*(?:\([^)]*\))?\s*$")


@dataclass(frozen=True)
class _Field:
    slot: int
    kind: str
    is_vector: bool
    default: str


@dataclass
class Schema:
    """What one ``.fbs`` file declares."""

    tables: dict[str, dict[str, _Field]] = field(default_factory=dict)
    enums: dict[str, tuple[str, dict[int, str]]] = field(default_factory=dict)
    unions: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)
    root: str = ""

    @staticmethod
    def load(path: Path) -> Schema:
        """Read a schema and what it includes."""
        text = _COMMENT.sub("", path.read_text())
        schema = Schema()
        for name in re.findall(r'\binclude\s+"([^"]+)"', text):
            included = Schema.load(path.parent / name)
            schema.tables |= included.tables
            schema.enums |= included.enums
            schema.unions |= included.unions
        blocks = _BLOCK.findall(text)
        for kind, name, base, body in blocks:
            if kind == "enum":
                schema.enums[name] = (base, _numbered(body))
            elif kind == "union":
                schema.unions[name] = _members(body)
        for kind, name, _, body in blocks:
            if kind == "table":
                schema.tables[name] = _fields(body, schema.unions)
        roots = re.findall(r"\broot_type\s+(\w+)", text)
        schema.root = roots[0] if roots else ""
        return schema

    def base(self, kind: str) -> str:
        """The scalar that an enum is stored as; other kinds are what they are."""
        return self.enums[kind][0] if kind in self.enums else kind

    def read(self, data: memoryview) -> Table:
        """The root table of a flatbuffer."""
        return Table(self, data, _offset(data, 0), self.root)


@dataclass(frozen=True)
class Table:
    """One table of a flatbuffer. Reading past its end raises IndexError or struct.error.

    Attributes:
        schema: Declares it.
        data: The whole flatbuffer.
        position: Where it starts.
        name: Its type; for a union's content, the type in the schema.
        label: For a union's content, the name of the member.
    """

    schema: Schema
    data: memoryview
    position: int
    name: str
    label: str = ""

    def integer(self, name: str) -> int:
        """A scalar field, or its default."""
        return int(self.number(name))

    def number(self, name: str) -> float:
        """The same of the type that the schema says: an integer, a float or a boolean."""
        declared = self.schema.tables[self.name][name]
        place = self._place(name)
        if place:
            code = SCALARS[self.schema.base(declared.kind)]
            value: float = struct.unpack_from("<" + code, self.data, place)[0]
            return value
        if declared.kind in self.schema.enums and declared.default:
            names = self.schema.enums[declared.kind][1]
            return next(number for number, label in names.items() if label == declared.default)
        return float(declared.default or 0)

    def text(self, name: str) -> str:
        """A string field; empty when absent."""
        place = self._place(name)
        return _string(self.data, _offset(self.data, place)) if place else ""

    def has(self, name: str) -> bool:
        """Whether a field is stored."""
        return self._place(name) != 0

    def choice(self, name: str) -> str:
        """An enum field, by name."""
        kind = self.schema.tables[self.name][name].kind
        return self.schema.enums[kind][1][self.integer(name)]

    def table(self, name: str) -> Table | None:
        """A field that is a table or a union's content; ``None`` when absent."""
        place = self._place(name)
        if not place:
            return None
        kind = self.schema.tables[self.name][name].kind
        label = ""
        if kind in self.schema.unions:
            number = self._union_member(name)
            if not number:
                return None
            label, kind = self.schema.unions[kind][number]
        return Table(self.schema, self.data, _offset(self.data, place), kind, label)

    def needed(self, name: str) -> Table:
        """The same where it cannot be absent."""
        found = self.table(name)
        if found is None:
            raise ValueError(f"{self.name} has no {name}")
        return found

    def tables(self, name: str) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(name, 4)
        kind = self.schema.tables[self.name][name].kind
        places = range(start, start + 4 * count, 4)
        return [Table(self.schema, self.data, _offset(self.data, place), kind) for place in places]

    def integers(self, name: str) -> tuple[int, ...]:
        """A vector of scalars."""
        code = SCALARS[self.schema.base(self.schema.tables[self.name][name].kind)]
        start, count = self._vector(name, struct.calcsize(code))
        return struct.unpack_from(f"<{count}{code}", self.data, start)

    def content(self, name: str) -> memoryview:
        """A vector of bytes, not copied."""
        start, count = self._vector(name, 1)
        return self.data[start : start + count]

    def _union_member(self, name: str) -> int:
        place = self._slot(self.schema.tables[self.name][name].slot - 1)
        number: int = struct.unpack_from("<B", self.data, place)[0] if place else 0
        return number

    def _place(self, name: str) -> int:
        return self._slot(self.schema.tables[self.name][name].slot)

    def _slot(self, slot: int) -> int:
        """Where a field is stored; 0 when it is not."""
        vtable = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        if vtable < 0:
            raise IndexError(f"vtable at {vtable}")
        size = struct.unpack_from("<H", self.data, vtable)[0]
        entry = 4 + 2 * slot
        relative: int = struct.unpack_from("<H", self.data, vtable + entry)[0] if entry < size else 0
        return self.position + relative if relative else 0

    def _vector(self, name: str, item_bytes: int) -> tuple[int, int]:
        """Start and length."""
        place = self._place(name)
        if not place:
            return 0, 0
        start = _offset(self.data, place)
        count: int = struct.unpack_from("<I", self.data, start)[0]
        if start + 4 + count * item_bytes > len(self.data):
            raise IndexError(f"{self.name}.{name} ends behind the end of the file")
        return start + 4, count


def _offset(data: memoryview, place: int) -> int:
    target: int = place + struct.unpack_from("<I", data, place)[0]
    return target


def _string(data: memoryview, start: int) -> str:
    count = struct.unpack_from("<I", data, start)[0]
    return bytes(data[start + 4 : start + 4 + count]).decode("utf-8")


def _parts(body: str, separator: str) -> list[str]:
    return [part.strip() for part in body.split(separator) if part.strip()]


def _numbered(body: str) -> dict[int, str]:
    names, number = {}, -1
    for part in _parts(body, ","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        number = int(value, 0) if value else number + 1
        names[number] = name
    return names


def _members(body: str) -> dict[int, tuple[str, str]]:
    """Number to member name and table; 0 stands for nothing."""
    found = {}
    for number, part in enumerate(_parts(body, ","), start=1):
        label, _, kind = (piece.strip() for piece in part.partition(":"))
        found[number] = (label, kind or label)
    return found


def _fields(body: str, unions: dict[str, dict[int, tuple[str, str]]]) -> dict[str, _Field]:
    """Fields with their slots; a union takes two, the first for which member it is."""
    found, slot = {}, 0
    for part in _parts(body, ";"):
        match = _FIELD.match(part)
        if match is None:
            raise ValueError(f"cannot read the schema line {part!r}")
        name, vector, kind, default = match.groups()
        slot += kind in unions
        found[name] = _Field(slot, kind.rpartition(".")[2], bool(vector), default or "")
        slot += 1
    return found
