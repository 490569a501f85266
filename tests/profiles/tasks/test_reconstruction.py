"""Reconstruction, and the published scores of MLPerf Tiny's anomaly detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import labels
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles import decoding
from profiles.tasks import reconstruction

GENERATOR = np.random.default_rng(1)
INPUTS = GENERATOR.normal(0, 3, (60, 1, 8, 4)).astype(np.float32)
REFERENCE = (INPUTS + 0.5 * GENERATOR.standard_normal(INPUTS.shape)).reshape(60, 1, 32).astype(np.float32)
OUTPUTS = (REFERENCE + 0.2 * GENERATOR.standard_normal(REFERENCE.shape)).astype(np.float32)


def given(
    outputs: Array = OUTPUTS, reference: Array | None = REFERENCE, typed: Any = labels.INPUT, **settings: str
) -> TaskInput:
    before = None if reference is None else Feeds({"out": reference})
    return TaskInput(Feeds({"out": outputs}), before, Feeds({"x": INPUTS}), typed, settings)


def test_mean_of_squares_per_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK_ELEMENTS", 300)
    (found,) = reconstruction.measure(given()).figures
    flat = INPUTS.reshape(60, 1, 32).astype(np.float64)
    assert found.value == pytest.approx(((OUTPUTS - flat) ** 2).mean())
    assert found.reference == pytest.approx(((REFERENCE - flat) ** 2).mean())
    assert (found.metric, found.samples, found.higher_is_better) == ("mean_squared_error", 60, False)
    assert found.differs is True


def test_batches_are_rows() -> None:
    batched = TaskInput(
        Feeds({"out": OUTPUTS.reshape(20, 3, 32)}), None, Feeds({"x": INPUTS.reshape(20, 3, 8, 4)}), "input", {}
    )
    assert reconstruction.measure(batched).figures == reconstruction.measure(given(reference=None)).figures


def test_what_fits() -> None:
    assert reconstruction.fits(given()) == "labels are the input itself and output 'out' has its size"
    assert reconstruction.fits(given(typed=np.zeros((60, 1)))) == ""
    assert reconstruction.fits(given(typed=None)) == ""
    assert reconstruction.fits(given(OUTPUTS[..., :5])) == ""


def test_what_is_wrong_is_said() -> None:
    spoilt = OUTPUTS.copy()
    spoilt[0, 0, 0] = np.inf
    for data, finding in (
        (given(spoilt), "output 'out' of the file has NaN or infinity in 1 of 60 samples"),
        (given(OUTPUTS[..., :5]), "no output has the size of an input"),
        (given(typed=None), "labels are not the input itself: --labels input"),
    ):
        found = reconstruction.measure(data)
        assert found.findings == (finding,)
        assert found.figures[0].unavailable == finding
    with pytest.raises(UsageError, match="there is no such input; there are x"):
        reconstruction.measure(given(input="other"))


@pytest.mark.shared
def test_published_score_of_a_clip(shared_models: Path) -> None:
    """``9.707108``, in MLPerf Tiny's results of the shipped float file; float32 sums differ from kernel to kernel."""
    pytest.importorskip("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    folder = shared_models / "mlperf_tiny_ad_autoencoder"
    clip = np.fromfile(folder / "normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(-1, 128)
    windows = np.stack([clip[start : start + 5].reshape(1, 640) for start in range(len(clip) - 4)])
    interpreter = Interpreter(str(folder / "ad01_fp32.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for window in windows:
        interpreter.set_tensor(entry, window)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(out).copy())
    data = TaskInput(Feeds({"out": np.stack(outputs)}), None, Feeds({"x": windows}), labels.INPUT, {})
    (found,) = reconstruction.measure(data).figures
    assert found.samples == 196
    assert found.value == pytest.approx(9.707108, abs=5e-5)
