"""The small files in models/, which models/make.py made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekit.types import Signature, TensorSpec
from profiles.devices._session import AgentSession

MODELS = Path(__file__).parent / "models"
IMAGE = Signature((TensorSpec("image", (1, 1, 8, 8), "float32"),), ())
TARGETS = {".tflite": "tflite", ".onnx": "onnx", ".pte": "executorch"}

OpenSession = Callable[..., AgentSession]
