"""ONNX files, float or quantized already."""

from __future__ import annotations

from typing import Any

from converters.graph import ONNX
from converters.onnx import identify
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a file, run it in ONNX Runtime on samples for reference, and write it whole; ``--dynamic`` keeps sizes open.

    The contract is that of :func:`converters.sources.pytorch.load`.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.onnx.reading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file, as those of a converted one.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.onnx.inspect import inspect as inspect_file

    asked = from_json(LoadRequest, request)
    return inspect_file(asked.path, asked.inputs)


SOURCE = Source(
    name="onnx",
    title="ONNX",
    identify=identify,
    form=ONNX,
    load="converters.sources.onnx:load",
    inspect="converters.sources.onnx:inspect",
    preload=("onnxruntime",),
    packages=("onnx", "onnxruntime"),
    extra="onnx",
    suffixes=(".onnx",),
    options=("dynamic",),
    layout="nchw",
    arrives="converters.onnx.reading:arrives",
)
