from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import OpenSession

from edgekit import data, feeds

SHARED = Path(__file__).resolve().parents[3] / "shared" / "models"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "operators"),
    [
        ("coral_mobilenet/mobilenet_v1_0.25_128_quant.tflite", 2),  # uint8, no signature
        ("hand_gesture/keypoint_classifier/keypoint_classifier.tflite", 0),  # no signature, an open batch
        ("mlperf_tiny_kws_dscnn/kws_ref_model.tflite", 2),
    ],
)
def test_files_of_other_converters(model: str, operators: int, open_session: OpenSession, tmp_path: Path) -> None:
    path = SHARED / model
    if not path.exists():
        pytest.skip(f"there is no {path}")
    with open_session(path) as session:
        given = feeds.write(tmp_path / "given", data.random_feeds(session.signature, 3, 0, {}))
        assert feeds.read(session.outputs(given, tmp_path / "outputs")).count == 3
        undelegated = session.undelegated()
    assert undelegated is not None
    assert len(undelegated) == operators


def test_onnx_runtime_reports_to_nobody(
    open_session: OpenSession, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reporter leaves a file of its own in the temporary folder, as soon as it is imported."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with open_session("tiny.onnx") as session:
        session.first(images)
    assert not list(temporary.iterdir())
