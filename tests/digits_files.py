"""The digits network as files, made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgekit.convert import ConvertOptions, convert
from edgekit.options import SourceOptions

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
TARGETS = ("tflite", "onnx")


@cache
def digits_files(folder: Path) -> Path:
    """A folder with the network in float32 and int8, for TFLite and ONNX."""
    source = SourceOptions(model_code=f"{DIGITS / 'model.py'}:Digits")
    options = ConvertOptions(
        quant=("float32", "int8"), data=str(DIGITS / "calibration.npz"), output=folder, source=source
    )
    report = convert(DIGITS / "digits.pt", TARGETS, options)
    assert not report.failures
    return folder
