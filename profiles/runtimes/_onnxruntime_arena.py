"""ONNX Runtime's arena, from the figures of its own profiler (``mem_*`` of each kernel)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.agent.arena import Arena, unavailable

if TYPE_CHECKING:
    from profiles.runtimes import Array

# Most in use, in use after a kernel, and by how much that kernel changed it. The first are of what was asked for; older
# versions give only what the arena handed out: whole blocks, up to twice as much.
_KEYS = (
    ("mem_bytes_requested_in_use", "mem_bytes_requested_in_use", "mem_requested_in_use_delta"),
    ("mem_in_use_peak", "mem_bytes_in_use", "mem_in_use_delta"),
)
_HELD = "mem_arena_held"
_RUNS = 2  # the first one shows it what to plan


def arena(path: str, threads: int, feed: Mapping[str, Array]) -> Arena:
    """The arena of a file, in a session of its own that is profiled."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "arena")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run(None, dict(feed))
        written = session.end_profiling()
        events = json.loads(Path(written).read_text(encoding="utf-8"))
    return read(events)


def read(events: Sequence[Mapping[str, Any]]) -> Arena:
    """The arena from the events of a profile, in their order."""
    figures = [event["args"] for event in events if _HELD in event.get("args", {})]
    keys = next((keys for keys in _KEYS if figures and all(key in one for one in figures for key in keys)), None)
    if keys is None:
        return unavailable("the profile of this version of ONNX Runtime has no figures of memory")
    most, now, change = keys
    # What was there before the first kernel ran: weights that the load has repacked, which lie in the arena too.
    weights = int(figures[0][now]) - int(figures[0][change])
    return {
        "arena_bytes": max(int(one[most]) for one in figures) - weights,
        "held_bytes": max(int(one[_HELD]) for one in figures),
        "note": "",
        "unavailable": "",
    }
