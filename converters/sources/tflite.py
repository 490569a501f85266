"""TFLite files, float or quantized already."""

from __future__ import annotations

from typing import Any

from converters.graph import TFLITE
from converters.tflite import identify
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a file, run it in LiteRT on samples for reference, and write it with one signature and fixed sizes.

    The contract is that of :func:`converters.sources.pytorch.load`.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.tflite.reading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file, as those of a converted one.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.tflite.inspect import inspect as inspect_file

    asked = from_json(LoadRequest, request)
    return inspect_file(asked.path, asked.inputs)


SOURCE = Source(
    name="tflite",
    title="TFLite",
    identify=identify,
    form=TFLITE,
    load="converters.sources.tflite:load",
    inspect="converters.sources.tflite:inspect",
    preload=("ai_edge_litert.interpreter",),
    packages=("ai_edge_litert",),
    extra="tflite",
    suffixes=(".tflite", ".lite"),
    options=("signature",),
    layout="nhwc",
    arrives="converters.tflite.reading:arrives",
)
