"""TensorFlow models: SavedModel folders and frozen graphs."""

from __future__ import annotations

from typing import Any

from converters.graph import SAVED_MODEL
from converters.saved_model import kinds
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a model, run it on samples for reference, and write it as a clean SavedModel.

    The contract is that of :func:`converters.sources.pytorch.load`.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.saved_model.loading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


SOURCE = Source(
    name="tensorflow",
    title="TensorFlow",
    identify=kinds.identify,
    form=SAVED_MODEL,
    load="converters.sources.saved_model:load",
    inspect="converters.saved_model.inspect:inspect",
    preload=("tensorflow",),
    packages=("tensorflow",),
    extra="tensorflow",
    suffixes=(".pb",),
    folders=True,
    options=("outputs", "signature"),
    layout="nhwc",
)
