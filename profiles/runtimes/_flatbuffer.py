"""Reads the little that is needed of FlatBuffers, without a schema compiler."""

from __future__ import annotations

import struct


class Table:
    """A table; fields are counted from 0 in the order of the schema, a union has two: its type and its table.

    Args:
        data: The whole buffer.
        at: Where the table is.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.fields = at - self._number("i", at)

    @classmethod
    def root(cls, data: bytes, start: int = 0) -> Table:
        """The table that a buffer is about, which begins after ``start`` bytes of something else."""
        return cls(data, start + struct.unpack_from("<I", data, start)[0])

    def integer(self, field: int, code: str = "i", default: int = 0) -> int:
        """A number; ``code`` as in :mod:`struct`."""
        place = self._place(field)
        return self._number(code, place) if place else default

    def text(self, field: int) -> str:
        """A string; empty when it is absent."""
        place = self._target(field)
        return self.data[place + 4 : place + 4 + self._number("I", place)].decode() if place else ""

    def table(self, field: int) -> Table | None:
        """A table within."""
        place = self._target(field)
        return Table(self.data, place) if place else None

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start = self._target(field)
        places = range(start + 4, start + 4 + 4 * self._number("I", start), 4) if start else ()
        return [Table(self.data, place + self._number("I", place)) for place in places]

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        offset = self._number("H", self.fields + entry) if entry < self._number("H", self.fields) else 0
        return self.at + offset if offset else 0

    def _target(self, field: int) -> int:
        place = self._place(field)
        return place + self._number("I", place) if place else 0

    def _number(self, code: str, place: int) -> int:
        number: int = struct.unpack_from("<" + code, self.data, place)[0]
        return number
