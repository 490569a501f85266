"""Tells TensorFlow's files apart by what is in them. Standard library only: the protobuf is walked, not parsed."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

FILE = "saved_model.pb"
TEXT_FILE = "saved_model.pbtxt"
GIT_LFS = b"version https://git-lfs"

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SCHEMA_VERSION, _META_GRAPH = (1, _VARINT), (2, _LENGTH)  # of SavedModel, saved_model.proto
_META_INFO, _GRAPH = (1, _LENGTH), (2, _LENGTH)  # of MetaGraphDef, meta_graph.proto
_NODE = (1, _LENGTH)  # of GraphDef, graph.proto
_GRAPH_FIELDS = {_NODE, (2, _LENGTH), (3, _VARINT), (4, _LENGTH), (5, _LENGTH)}
_NODE_FIELDS = {(number, _LENGTH) for number in range(1, 8)}  # of NodeDef, node_def.proto
_NODE_NAME, _NODE_OPERATOR = 1, 2
_NAME = re.compile(rb"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_OPERATOR = re.compile(rb"[A-Za-z0-9._>]+")
_LOOKED_AT = 8
"""Top-level fields that are looked at; a file that is cut short behind them is told so when it is read."""

_Field = tuple[tuple[int, int], int, int]
"""Number and wire type, and where the content of a field begins and ends."""


class Kind(StrEnum):
    """What a file or folder of TensorFlow's is."""

    FOLDER = "TensorFlow SavedModel"
    PROTO = "saved_model.pb without its folder"
    GRAPH = "frozen TensorFlow graph"


def identify(path: Path) -> Kind | None:
    """The kind of a file or folder, or ``None`` when it is not TensorFlow's; never raises for what is in it."""
    if not path.is_dir():
        return _identify_file(path)
    if (path / TEXT_FILE).is_file():
        return Kind.FOLDER
    file = path / FILE
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        start = opened.read(64)
    # An empty file, or one that Git LFS did not fetch, is a SavedModel in a bad state: reading it says so.
    return Kind.FOLDER if not start or start.startswith((GIT_LFS, b"\x08", b"\x12")) else None


def _identify_file(path: Path) -> Kind | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if _is_saved_model(data):
                return Kind.PROTO
            return Kind.GRAPH if _is_graph(data, 0, len(data)) else None
    except (OSError, ValueError):  # nothing to map: an empty file, or no regular one
        return None


def _is_saved_model(data: mmap.mmap) -> bool:
    for _, (key, start, end) in zip(range(_LOOKED_AT), _fields(data, 0, len(data)), strict=False):
        if key == _META_GRAPH:
            inner = [_META_INFO, _GRAPH]
            for _, (found, first, last) in zip(range(_LOOKED_AT), _fields(data, start, end), strict=False):
                if found not in inner:
                    return False
                if found == _GRAPH:
                    return _is_graph(data, first, last)
            return False
        if key != _SCHEMA_VERSION:
            return False
    return False


def _is_graph(data: mmap.mmap, start: int, end: int) -> bool:
    """Whether this is a GraphDef: nodes with a name and an operator, and nothing else but what belongs there."""
    nodes = 0
    for _, (key, first, last) in zip(range(_LOOKED_AT), _fields(data, start, end), strict=False):
        if key not in _GRAPH_FIELDS or (key == _NODE and not _is_node(data, first, last)):
            return False
        nodes += key == _NODE
    return nodes > 0


def _is_node(data: mmap.mmap, start: int, end: int) -> bool:
    named = {}
    for key, first, last in _fields(data, start, end):
        if key not in _NODE_FIELDS:
            return False
        if key[0] in (_NODE_NAME, _NODE_OPERATOR):
            named[key[0]] = data[first:last]
        if len(named) == 2:
            break
    name, operator = named.get(_NODE_NAME, b""), named.get(_NODE_OPERATOR, b"")
    return bool(_NAME.fullmatch(name) and _OPERATOR.fullmatch(operator))


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[_Field]:
    """The fields of a message; ends at the first thing that is none. The last may reach beyond a file cut short."""
    end = min(end, len(data))
    while place < end:
        key, place = _varint(data, place, end)
        number, wire = key >> 3, key & 7
        if number < 1:
            return
        start = place
        if wire == _VARINT:
            _, place = _varint(data, place, end)
        elif wire == _LENGTH:
            length, start = _varint(data, place, end)
            place = start + max(0, length)
        elif wire in (_FIXED64, _FIXED32):
            place += 8 if wire == _FIXED64 else 4
        else:
            return
        if start < 0 or place < 0:
            return
        yield (number, wire), start, place


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number and the place behind it; -1 for both where there is none."""
    value = 0
    for index in range(10):
        if place + index >= end:
            break
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    return -1, -1
