"""JAX models: programs of ``jax.export``, and functions in Python files."""

from __future__ import annotations

from typing import Any

from converters.graph import STABLEHLO
from converters.jax import kinds
from edgekit.plugins import Source
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import from_json


def load(request: dict[str, Any]) -> Loaded:
    """Read a program or import a function, run it on samples for reference, and write it as a program.

    The contract is that of :func:`converters.sources.pytorch.load`.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.
    """
    from converters.jax.loading import load_and_run

    return load_and_run(from_json(LoadRequest, request))


SOURCE = Source(
    name="jax",
    title="JAX",
    identify=kinds.identify,
    form=STABLEHLO,
    load="converters.sources.jax:load",
    inspect="converters.jax.inspect:inspect",
    preload=("jax",),
    packages=("jax",),
    extra="jax",
    suffixes=(".jaxexport", ".py"),
    layout="nhwc",
)
