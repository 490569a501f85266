"""ONNX files to read: a product with weights inside or apart, and all that reads files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imported_models import model
from onnx import TensorProto, helper

from converters.onnx.inspect import inspect
from converters.onnx.reading import load_and_run
from converters.onnx_import.convert import plan_of
from edgekit.errors import EdgekitError
from edgekit.requests import LoadRequest

WEIGHTS = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
SIZE = WEIGHTS.nbytes


def apart(**entries: Any) -> Any:
    """A tensor ``w`` in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def saved(proto: Any, folder: Path, **data: bytes) -> Path:
    """A model in a folder of its own."""
    folder.mkdir(exist_ok=True)
    for name, content in data.items():
        (folder / name).write_bytes(content)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def product(*stored: Any, nodes: Any = (PRODUCT,), x: Any = (1, 4)) -> Any:
    proto = model(nodes, {"x": x}, ["y"])
    proto.graph.initializer.extend(stored)
    return proto


def as_source(path: Path, into: Path, **options: Any) -> Any:
    into.mkdir(exist_ok=True)
    return load_and_run(LoadRequest(path=str(path), into=str(into), **options))


def linear_weight(path: Path | str) -> Any:
    """What the one product of a plan multiplies with, in the file's order of axes."""
    (step,) = plan_of(path, {"x": (1, 4)}, ["y"]).steps
    weight = step.operands[1]
    assert weight is not None
    return weight.tensor.numpy().T


def every_reader(path: Path, into: Path) -> list[EdgekitError]:
    """The errors of ``inspect``, the source and the importer."""
    readers: list[Callable[[], object]] = [
        lambda: inspect(str(path)),
        lambda: as_source(path, into),
        lambda: plan_of(path, {"x": (1, 4)}, ["y"]),
    ]
    found = []
    for reader in readers:
        with pytest.raises(EdgekitError) as caught:
            reader()
        found.append(caught.value)
    return found
