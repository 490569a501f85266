"""A ``.pte`` whose method gets more outputs: values, memory for them, delegates with other content."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.executorch._flatbuffer import Table
from converters.executorch._program import SIGNATURE, Program
from converters.executorch._tree import Record, pack, unpack

_HEADER = b"eh00"
_HEADER_BYTES = 32
_BEHIND_IDENTIFIER = 8  # where the header is put: behind the root's offset and the identifier of the file
_SEGMENT_ALIGNMENT = 128
_TENSOR_ALIGNMENT = 64
_READ_BEYOND = 64  # XNNPACK reads up to XNN_EXTRA_BYTES behind the end of a tensor
_FIRST_ARENA = 1  # entry 0 of the planned buffers is reserved


class Editor:
    """One method of a program, open for changes. What is there keeps its index, what is added stands behind it.

    Attributes:
        program: As read; it does not change.
        root: Its flatbuffer, which does.
        plan: The method in ``root``.
    """

    def __init__(self, program: Program, method: Table) -> None:
        self.program = program
        self.root = unpack(program.root)
        self.plan: Record = next(item for item in self.root["execution_plan"] if item["name"] == method.text("name"))
        self.dtypes = {name: number for number, name in program.root.schema.enums["ScalarType"][1].items()}
        self.added: list[bytes] = []

    def move(self, value: int, size: int) -> None:
        """Give a tensor memory that nothing else uses, so that it keeps its content until the method ends.

        Args:
            value: Its index.
            size: In bytes.
        """
        tensor = self.plan["values"][value]["val"]
        before = tensor.get("allocation_info")
        tensor["allocation_info"] = self._allocated(before["memory_id"] if before else _FIRST_ARENA, size)

    def share(self, value: int, other: int) -> None:
        """Let a tensor lie where another one does."""
        values = self.plan["values"]
        details = values[other]["val"].get("allocation_info")
        if details is not None:
            values[value]["val"]["allocation_info"] = Record("AllocationDetails", dict(details.fields))

    def add_tensor(self, dtype: str, sizes: Sequence[int], size: int, dynamic: bool) -> int:
        """Add a tensor, contiguous, in memory of its own; returns its index.

        Args:
            dtype: Name of a ``ScalarType``.
            sizes: Upper bounds where ``dynamic``.
            size: In bytes.
            dynamic: Whether a run may make it smaller.
        """
        fields = {
            "scalar_type": self.dtypes[dtype],
            "sizes": list(sizes),
            "dim_order": bytes(range(len(sizes))),
            "allocation_info": self._allocated(_FIRST_ARENA, size),
            "shape_dynamism": 1 if dynamic else 0,
        }
        values = self.plan.items("values")
        values.append(Record("EValue", {"val": Record("Tensor", fields, "Tensor")}))
        return len(values) - 1

    def set_delegate(self, index: int, content: bytes) -> None:
        """Let a delegate run something else."""
        place = self.plan["delegates"][index]["processed"]
        place["location"] = 1  # SEGMENT
        place["index"] = len(self.root.items("segments"))
        start = _aligned(self._segments_bytes(), _SEGMENT_ALIGNMENT)
        self.added.append(bytes(start - self._segments_bytes()) + content)
        self.root.items("segments").append(Record("DataSegment", {"offset": start, "size": len(content)}))

    def instructions(self) -> list[Record]:
        """All instructions of the method, in order."""
        return [item["instr_args"] for chain in self.plan.get("chains", []) for item in chain.get("instructions", [])]

    def signature(self) -> dict[str, Any] | None:
        """The names that edgekit wrote into the file; ``None`` where it did not."""
        stored = self._stored_signature()
        found: dict[str, Any] | None = None if stored is None else json.loads(stored["string_val"])
        return found

    def set_signature(self, signature: Mapping[str, object]) -> None:
        """Write other names; the file has some."""
        stored = self._stored_signature()
        if stored is not None:
            stored["string_val"] = json.dumps(signature)

    def write(self, path: Path) -> None:
        """Write the program, and behind it the segments it had, then those that were added."""
        schema, data = self.program.root.schema, self.program.data
        packed = pack(schema, self.root, bytes(data[4:8]))
        if not self.root.get("segments"):
            path.write_bytes(packed)
            return
        root = struct.unpack_from("<I", packed)[0] + _HEADER_BYTES
        size = len(packed) + _HEADER_BYTES
        base = _aligned(size, _SEGMENT_ALIGNMENT)
        header = _HEADER + struct.pack("<IQQQ", _HEADER_BYTES, size, base, self._segments_bytes())
        with path.open("wb") as file:
            file.write(struct.pack("<I", root) + packed[4:_BEHIND_IDENTIFIER] + header)
            file.write(packed[_BEHIND_IDENTIFIER:] + bytes(base - size))
            if self.program.base:
                file.write(data[self.program.base :])
            for content in self.added:
                file.write(content)

    def _segments_bytes(self) -> int:
        before = len(self.program.data) - self.program.base if self.program.base else 0
        return before + sum(map(len, self.added))

    def _stored_signature(self) -> Record | None:
        for plan in self.root["execution_plan"]:
            if plan["name"] == SIGNATURE:
                found: Record = plan["values"][plan["outputs"][0]]["val"]
                return found
        return None

    def _allocated(self, memory: int, size: int) -> Record:
        planned = self.plan.items("non_const_buffer_sizes")
        planned += [0] * (memory + 1 - len(planned))
        start = _aligned(planned[memory], _TENSOR_ALIGNMENT)
        planned[memory] = start + size + _READ_BEYOND
        low, high = start & 0xFFFFFFFF, start >> 32
        return Record("AllocationDetails", {"memory_id": memory, "memory_offset_low": low, "memory_offset_high": high})


def _aligned(size: int, alignment: int) -> int:
    return math.ceil(size / alignment) * alignment
