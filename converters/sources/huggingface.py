"""Hugging Face folders: what ``save_pretrained`` and sentence-transformers leave."""

from __future__ import annotations

from typing import Any

from converters.graph import TORCH_EXPORT
from converters.huggingface import folder
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """See :func:`converters.sources.pytorch.load`; the model is built from the folder, and nothing is downloaded.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.huggingface.loading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


SOURCE = Source(
    name="huggingface",
    title="Hugging Face",
    identify=folder.identify,
    form=TORCH_EXPORT,
    load="converters.sources.huggingface:load",
    inspect="converters.huggingface.inspect:inspect",
    preload=("torch", "transformers"),
    packages=("torch", "transformers", "safetensors"),
    extra="huggingface",
    suffixes=(),
    folders=True,
    options=("task", "dynamic"),
    layout="nchw",
)
"""Reading folders with ``config.json`` and ``model.safetensors``."""
