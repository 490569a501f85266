"""Keras models: ``.keras``, HDF5 files of Keras 2 and 3, and weights alone."""

from __future__ import annotations

from typing import Any

from converters.graph import SAVED_MODEL
from converters.keras import kinds
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a model, run it on samples for reference, and write it as a SavedModel.

    The contract is that of :func:`converters.sources.pytorch.load`.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.keras.loading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


SOURCE = Source(
    name="keras",
    title="Keras",
    identify=kinds.identify,
    form=SAVED_MODEL,
    load="converters.sources.keras:load",
    inspect="converters.keras.inspect:inspect",
    preload=("converters.keras.backend", "tensorflow"),
    packages=("tensorflow", "keras", "h5py"),
    extra="tensorflow",
    suffixes=(".keras", ".h5", ".hdf5"),
    options=("dynamic",),
    layout="nhwc",
)
