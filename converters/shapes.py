"""Sizes that a model leaves open, from ``--input`` and ``--data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from converters.opening import dataset_of
from edgekit.errors import UsageError
from edgekit.inputs import parse
from edgekit.requests import LoadRequest
from edgekit.types import TensorSpec


def settle(specs: Sequence[TensorSpec], request: LoadRequest) -> tuple[TensorSpec, ...]:
    """The inputs of a model with a size for every axis: that of ``--input``, else of the data; an open batch is 1.

    Args:
        specs: As the model has them, ``None`` for open axes.
        request: Of the command.

    Raises:
        UsageError: An axis stays open, or ``--input`` contradicts the model; the message shows what to type.
    """
    given = {item.name: item.shape for item in map(parse, request.inputs)}
    if len(specs) == 1 and "" in given:
        given = {specs[0].name: given[""]}
    unknown = [name for name in given if name not in {spec.name for spec in specs}]
    if unknown:
        raise UsageError(
            f"--input {unknown[0]}=…: the inputs of {request.path} are {', '.join(map(str, specs))}.",
            hint=" ".join(f"--input {_typed(spec)}" for spec in specs),
        )
    return tuple(_settled(spec, given.get(spec.name), request) for spec in specs)


def _settled(spec: TensorSpec, wanted: tuple[int | None, ...] | None, request: LoadRequest) -> TensorSpec:
    if wanted is not None:
        fits = len(wanted) == len(spec.shape) and all(
            own in (None, size) for own, size in zip(spec.shape, wanted, strict=True)
        )
        if not fits:
            sizes = ",".join(str(size) for size in wanted)
            raise UsageError(
                f"--input {spec.name}={sizes}: {request.path} takes {spec}.", hint=f"--input {_typed(spec)}"
            )
        return replace(spec, shape=wanted)
    dataset = dataset_of(request)
    shape = list(spec.shape)
    # Asked only where it is needed: pictures that say no size are an error then.
    found = dataset.shape_for(spec) if dataset is not None and None in shape[1:] else None
    for axis, size in enumerate(shape):
        if size is None and axis == 0:
            shape[axis] = 1
        elif size is None and found is not None and len(found) == len(shape):
            shape[axis] = found[axis]
    if None in shape:
        raise UsageError(
            f"{request.path}: the model leaves sizes of its input open ({spec}), and edge runtimes want them fixed.",
            hint=f"--input {_typed(spec)}   (with your sizes), or --data FILE with samples",
        )
    return replace(spec, shape=tuple(shape))


def _typed(spec: TensorSpec) -> str:
    sizes = ",".join("1" if size is None else str(size) for size in spec.shape)
    return f"{spec.name}={sizes}" + ("" if spec.dtype == "float32" else f":{spec.dtype}")
