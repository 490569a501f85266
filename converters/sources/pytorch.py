"""PyTorch models: ``.pt2``, TorchScript, pickled modules, checkpoints and safetensors."""

from __future__ import annotations

from typing import Any

from converters.graph import TORCH_EXPORT
from converters.pytorch import kinds
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a model, run it on samples for reference, and write it as a program.

    The contract of every source's job. It writes below ``into``: ``feeds`` (the samples), ``reference`` (the source's
    own outputs on them), ``calibration`` (where samples for it were asked for), and the program.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.pytorch.loading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


SOURCE = Source(
    name="pytorch",
    title="PyTorch",
    identify=kinds.identify,
    form=TORCH_EXPORT,
    load="converters.sources.pytorch:load",
    inspect="converters.pytorch.inspect:inspect",
    preload=("torch",),
    packages=("torch",),
    extra="torch",
    options=("dynamic",),
    layout="nchw",
    suffixes=(".pt2", ".pt", ".pth", ".ckpt", ".th", ".bin", ".safetensors"),
)
