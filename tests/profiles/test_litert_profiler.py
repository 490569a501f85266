from __future__ import annotations

import ctypes
import struct
import types
from pathlib import Path

import pytest

from profiles.runtimes import _etdump, _events, _litert_profiler, litert, onnxruntime
from profiles.runtimes._events import Event, ProfilerUnavailableError
from profiles.runtimes._flatbuffer import Table
from profiles.runtimes._litert_profiler import BUILTIN, DELEGATED, Recorded

PROGRAM = Path(__file__).parent / "models" / "tiny.pte"


def test_delegated_parts_are_told_apart() -> None:
    """Kernels are numbered anew in each part; two parts without an operator between them show in the numbers alone."""
    recorded = [
        Recorded(DELEGATED, "Convolution", 0, 5, 0, 0),
        Recorded(DELEGATED, "Add", 0, 2, 1, 0),
        Recorded(DELEGATED, "Convolution", 0, 3, 0, 0),
        Recorded(BUILTIN, "SOFTMAX", 100, 7, 4, 0),
        Recorded(DELEGATED, "Convolution", 0, 9, 0, 0),
    ]
    found = litert._events(recorded, {4: "the scores"})
    assert len({event.key for event in found}) == 5
    assert [event.ns for event in found] == [5000, 2000, 3000, 7000, 9000]
    assert found[3][1:] == ("SOFTMAX", "the scores", "0:4", "", 7000)
    assert {event.delegate for event in found if event.operator != "SOFTMAX"} == {"XNNPACK"}


def test_a_while_gives_up_the_time_of_what_it_runs() -> None:
    """As LiteRT 2.3 records a loop of two rounds with a delegated body, and a delegated operator after it."""
    condition, step = Recorded(BUILTIN, "LESS", 3, 1, 0, 1), Recorded(BUILTIN, "ADD", 5, 2, 0, 2)
    kernel = Recorded(DELEGATED, "Fully Connected", 0, 30, 0, 2)
    recorded = [
        Recorded(BUILTIN, "WHILE", 1, 100, 0, 0),
        condition, step, kernel, condition, step, kernel, condition,
        Recorded(DELEGATED, "Fully Connected", 0, 40, 0, 0),
    ]  # fmt: skip
    rows = _events.rows([litert._events(recorded, {0: "loop"})] * 2)
    assert [(row["operator"], row["name"], row["calls"], row["ns"][1]) for row in rows] == [
        ("WHILE", "loop", 1, 33_000),
        ("LESS", "", 3, 3_000),
        ("ADD", "", 2, 4_000),
        ("Fully Connected", "", 2, 60_000),
        ("Fully Connected", "", 1, 40_000),
    ]


def test_runs_that_differ() -> None:
    """What a loop runs may depend on the data."""
    a, b = Event("a", "A", "", "", "", 10), Event("b", "B", "", "", "", 20)
    first, second = _events.rows([[a], [b, a, a]])
    assert (first["ns"], first["calls"]) == ([10, 20], 1)
    assert (second["ns"], second["calls"], second["index"]) == ([0, 20], 0, 1)


def node(name: str, start: int, duration: int, index: int = 0) -> dict[str, object]:
    arguments = {"op_name": name.title(), "provider": "CPUExecutionProvider", "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": arguments}


def test_events_of_onnx_runtime() -> None:
    """What ran within another operator ended before it, and began after it."""
    run = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 99}
    other = {"cat": "Session", "name": "SequentialExecutor::Execute", "ts": 0, "dur": 99}
    events = [
        node("before", 10, 3, 0), node("inner", 15, 4, 0), node("inner", 20, 6, 0), other, node("loop", 14, 15, 1),
        node("short", 30, 0, 2), node("after", 30, 5, 3), other, run, node("before", 50, 2, 0), run,
    ]  # fmt: skip
    first, second = onnxruntime._runs(events)
    assert [(event.name, event.ns) for event in first] == [
        ("before", 3000), ("loop", 5000), ("inner", 4000), ("inner", 6000), ("short", 0), ("after", 5000),
    ]  # fmt: skip
    assert [event.ns for event in second] == [2000]


def test_a_library_without_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setitem(_litert_profiler._FUNCTIONS, "LiteRtNobodyKnows", ())
    with pytest.raises(ProfilerUnavailableError, match="no LiteRtNobodyKnows"):
        _litert_profiler._library()
    old = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(_litert_profiler.importlib.util, "find_spec", lambda _: old)
    with pytest.raises(ProfilerUnavailableError, match=r"without libLiteRt\.so"):
        _litert_profiler._library()


@pytest.mark.parametrize(("kind", "tag", "source"), [(7, True, 0), (8, False, 0), (2, True, 9)])
def test_events_that_are_laid_out_otherwise(kind: int, tag: bool, source: int) -> None:
    """Their tags are never read: an address that is none would end the process."""
    text = ctypes.create_string_buffer(b"Convolution")
    event = _litert_profiler._Event(type=kind, source=source, tag=ctypes.addressof(text) if tag else None)
    with pytest.raises(ProfilerUnavailableError, match="lays out its events"):
        _litert_profiler._sane((_litert_profiler._Event * 1)(event))


def test_a_file_that_is_no_etdump() -> None:
    with pytest.raises(ProfilerUnavailableError, match="a form of its own"):
        _etdump.runs(b"\0" * 64, PROGRAM.read_bytes())


def test_the_instructions_of_a_program() -> None:
    found = _etdump._instructions(PROGRAM.read_bytes())
    assert found[0, 0] == ("", "XNNPACK")


def test_a_flatbuffer_by_hand() -> None:
    """A root table with a number, a string, and a field that its writer did not know."""
    fields = struct.pack("<HHHH", 8, 12, 4, 8)  # size of this list, of the table, places of two fields
    table = struct.pack("<iiI", 8, -7, 4)  # way back to the list, a number, way to the string
    data = struct.pack("<I", 4 + len(fields)) + fields + table + struct.pack("<I", 2) + b"hi\0\0"
    root = Table.root(data)
    assert root.integer(0) == -7
    assert root.text(1) == "hi"
    assert root.integer(5, default=3) == 3
    assert root.text(6) == ""
    assert root.table(7) is None
    assert root.tables(8) == []
