"""Memory of models whose memory is known; ``benchmarks/memory.py`` has the whole table."""

from __future__ import annotations

import importlib.util
import mmap
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_models import MODELS, TARGETS, OpenSession

from edgekit import data, feeds, registry
from edgekit.plugins import MetricInput
from edgekit.types import Measurement
from profiles.agent import evidence
from profiles.runtimes import _onnxruntime_arena
from profiles.runtimes._litert_arena import covered

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def known() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_models", ROOT / "benchmarks" / "_memory_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metrics(raw: dict[str, Any], facts: dict[str, Any] | None = None) -> dict[str, Measurement]:
    found = registry.metrics()["memory"].measure(MetricInput(Path(__file__), facts or {}, raw))
    return {item.metric: item for item in found}


def measured(path: Path, open_session: OpenSession, tmp_path: Path) -> dict[str, Measurement]:
    with open_session(path) as session:
        raw: dict[str, Any] = {"start": session.ready(), "load": session.load()}
        given = feeds.write(tmp_path / "given", data.random_feeds(session.signature, 1, 0, {}))
        raw["first"], raw["arena"] = session.first(given), session.arena()
    facts = registry.function(registry.targets()[TARGETS[path.suffix]].inspect)(str(path))
    return metrics(raw, facts)


@pytest.mark.parametrize(
    ("name", "file"),
    [("tflite_constant", "model.tflite"), ("onnx_constant", "model.onnx")],
)
def test_a_constant_of_known_size(name: str, file: str, open_session: OpenSession, tmp_path: Path) -> None:
    models = known()
    found = measured(getattr(models, name)(tmp_path / file), open_session, tmp_path)
    for metric in ("pss_bytes", "uss_bytes"):
        assert found[metric].value == pytest.approx(models.CONSTANT_BYTES, rel=0.05)
    # ONNX Runtime holds it twice while it reads the file.
    times = 2 if file.endswith(".onnx") else 1
    assert found["peak_memory_bytes"].value == pytest.approx(times * models.CONSTANT_BYTES, rel=0.05)
    # The arena holds one column, whatever the constant takes.
    assert found["arena_bytes"].value == pytest.approx(models.ROWS * 4, rel=0.05)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".pte"])
def test_an_activation_of_known_size(suffix: str, open_session: OpenSession, tmp_path: Path) -> None:
    models, path = known(), tmp_path / f"model{suffix}"
    if suffix == ".pte":
        shutil.copy(MODELS / "activation.pte", path)
    else:
        getattr(models, f"{TARGETS[suffix]}_activation")(path)
    found = measured(path, open_session, tmp_path)
    for metric in ("peak_memory_bytes", "pss_bytes", "uss_bytes"):
        assert found[metric].value == pytest.approx(models.ACTIVATION_BYTES, rel=0.05)
    arena = found["arena_bytes"]
    if suffix == ".tflite":  # the delegate has it: its borders alone are in the arena
        borders = 4 * (2 * models.ACTIVATION_ROWS + models.COLUMNS)
        assert arena.value == pytest.approx(borders, rel=0.05)
        assert arena.spread == "without what the delegate keeps for itself"
    else:
        assert arena.value == pytest.approx(models.ACTIVATION_BYTES, rel=0.05)


def test_pages_of_libraries_are_told_from_others(tmp_path: Path) -> None:
    data_file, program = tmp_path / "data", tmp_path / "program"
    for file in (data_file, program):
        file.write_bytes(os.urandom(8 * MIB))
    before = evidence.memory()
    with data_file.open("rb") as one, program.open("rb") as other:
        mapped = mmap.mmap(one.fileno(), 0, prot=mmap.PROT_READ)
        code = mmap.mmap(other.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    touched = sum(area[place] for area in (mapped, code) for place in range(0, 8 * MIB, mmap.PAGESIZE))
    after = evidence.memory()
    assert touched > 0
    grown = {key: (after[key] or 0) - (before[key] or 0) for key in after}
    assert grown["code_bytes"] == pytest.approx(8 * MIB, abs=MIB / 2)
    assert grown["pss_bytes"] == pytest.approx(8 * MIB, abs=MIB / 2)
    assert grown["uss_bytes"] == pytest.approx(8 * MIB, abs=MIB / 2)
    assert grown["rss_bytes"] == pytest.approx(16 * MIB, abs=MIB)
    mapped.close()
    code.close()


def test_weights_in_the_arena_are_no_activations() -> None:
    """ONNX Runtime puts repacked weights there, 1000 bytes here."""

    def kernel(in_use: int, change: int, held: int) -> dict[str, Any]:
        figures = {
            "mem_bytes_requested_in_use": in_use,
            "mem_requested_in_use_delta": change,
            "mem_arena_held": held,
        }
        return {"name": "kernel", "args": {key: str(value) for key, value in figures.items()}}

    events = [{"name": "session", "args": {}}, {"name": "x"}, kernel(1040, 40, 2048), kernel(1100, 60, 4096)]
    found = _onnxruntime_arena.read(events)
    assert (found["arena_bytes"], found["held_bytes"]) == (100, 4096)
    assert _onnxruntime_arena.read(events[:2])["unavailable"]


def reading(rss: int | None, peak: int | None, code: int | None, **others: Any) -> dict[str, Any]:
    resident = None if rss is None or code is None else rss - code
    return {
        "rss_bytes": rss,
        "peak_bytes": peak,
        "code_bytes": code,
        "pss_bytes": resident,
        "uss_bytes": resident,
        **others,
    }


def test_a_peak_while_loading_goes_with_the_libraries_of_that_moment() -> None:
    raw = {
        "start": {"memory": reading(100, 100, 20, peak_reset=True)},
        "load": {"memory": reading(150, 180, 30)},
        "first": {"memory": reading(160, 180, 45)},
    }
    found = metrics(raw)
    assert found["peak_memory_bytes"].value == (180 - 30) - (100 - 20)
    assert found["pss_bytes"].value == (160 - 45) - (100 - 20)
    assert found["peak_memory_bytes"].spread == ""


def test_a_system_that_does_not_tell_libraries_apart_says_so() -> None:
    raw = {
        "start": {"memory": reading(100, 100, None, peak_reset=True)},
        "load": {"memory": reading(150, 180, None)},
        "first": {"memory": reading(160, 190, None)},
    }
    found = metrics(raw)
    assert found["peak_memory_bytes"].value == 90
    assert "libraries included" in found["peak_memory_bytes"].spread
    assert found["pss_bytes"].value is None
    assert found["pss_bytes"].unavailable


def test_an_arena_is_the_runtimes_then_the_files_then_a_reason() -> None:
    raw: dict[str, Any] = {
        "start": {"memory": reading(100, 100, 20, peak_reset=True)},
        "first": {"memory": reading(160, 180, 45)},
    }
    assert metrics(raw)["arena_bytes"].unavailable
    raw["arena"] = {"arena_bytes": None, "held_bytes": None, "note": "", "unavailable": "a reason"}
    assert metrics(raw)["arena_bytes"].unavailable == "a reason"
    assert metrics(raw, {"memory_planned_bytes": 7})["arena_bytes"].value == 7
    raw["arena"] = {"arena_bytes": 5, "held_bytes": 8, "note": "", "unavailable": ""}
    found = metrics(raw, {"memory_planned_bytes": 7})["arena_bytes"]
    assert (found.value, found.high) == (5, 8)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], 0),
        ([(1000, 1100)], 100),
        ([(1000, 1100), (1000, 1050), (1050, 1200)], 200),  # one over the other
        ([(1128, 1200), (1000, 1100)], 200),  # padding between them
        ([(1000, 1100), (5000, 5100)], 200),  # another block
    ],
)
def test_what_intervals_cover(places: list[tuple[int, int]], expected: int) -> None:
    assert covered(places) == expected
