"""Imports models and runs them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """The tensors here are tiny."""


def _of_benchmarks(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
        return importlib.import_module(name)


@pytest.fixture(scope="session")
def node_tests() -> ModuleType:
    """ONNX's own node tests: which count, and how one is run."""
    return _of_benchmarks("_onnx_node_tests")


@pytest.fixture(scope="session")
def conformance() -> ModuleType:
    """What they say about the importer."""
    return _of_benchmarks("_onnx_conformance")


@pytest.fixture
def same() -> Callable[..., Any]:
    """Import a model, export it, run both there and in ONNX Runtime; returns the flat program's graph module."""
    return _same


def _same(proto: Any, shapes: dict[str, Sequence[int]], least_db: float = 110.0) -> Any:
    import onnxruntime
    import torch
    from imported_models import decibels

    from converters.onnx_import.convert import flat_module, plan_of

    generator = np.random.default_rng(1)
    feeds = {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, feeds)
    plan = plan_of(proto, shapes, [item.name for item in session.get_outputs()])
    with torch.no_grad():
        module = flat_module(plan).module
        found = module(*(torch.from_numpy(item) for item in feeds.values()))
    for ours, theirs in zip(found, wanted, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert decibels(theirs, ours.numpy()) >= least_db
    return module
