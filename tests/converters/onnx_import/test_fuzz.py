"""A share of the damaged files of ``benchmarks/onnx_fuzz.py``: a clear error or success, and nothing read elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import onnx_fuzz

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="children with limits of memory and time"),
    pytest.mark.usefixtures("one_thread"),
]
COUNT = 150


def test_damaged_files_end_in_a_clear_error() -> None:
    outcomes = list(onnx_fuzz.run(range(COUNT), seed=7))
    assert [outcome for outcome in outcomes if not outcome.good] == []
    kinds = {kind for outcome in outcomes for kind in outcome.kinds}
    assert {"ok", "ConversionError", "UnsupportedError"} <= kinds


def test_what_must_not_happen_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that fails, one that dies, and one that reads the file beside the model's folder."""
    (tmp_path / "case").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"secret")

    def fails(path: Path) -> None:
        raise KeyError(path.name)

    def reads(path: Path) -> None:
        (path.parent / ".." / "secret.bin").read_bytes()

    def dies(path: Path) -> None:
        os.abort()

    for reader, kind in ((fails, "traceback"), (reads, "outside"), (dies, "died")):
        monkeypatch.setattr(onnx_fuzz, "READERS", (("reader", reader),))
        kinds, _, _ = onnx_fuzz.in_child(tmp_path / "case" / "model.onnx")
        assert kind in kinds
        assert not onnx_fuzz.Outcome(0, "", kinds, (), 0.0).good
