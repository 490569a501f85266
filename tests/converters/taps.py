"""What the tests of all taps ask of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODELS = Path(__file__).parents[1] / "models"
sys.path.insert(0, str(MODELS))


def samples(inputs: Any, count: int = 3) -> list[dict[str, Any]]:
    """Random samples for the inputs that a runtime lists."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        sample = {}
        for item in inputs:
            shape, dtype = [size or 1 for size in item["shape"]], np.dtype(item["dtype"])
            if dtype.kind == "f":
                sample[item["name"]] = generator.uniform(-1, 1, shape).astype(dtype)
            else:
                sample[item["name"]] = generator.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        found.append(sample)
    return found


def run(model: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of what a loaded file answers."""
    return {name: np.array(value) for name, value in model.run(sample).items()}


def sqnr(reference: Any, other: Any) -> float:
    """In dB; infinite for equal arrays."""
    reference, other = (np.asarray(array, np.float64) for array in (reference, other))
    noise = ((reference - other) ** 2).sum()
    return float("inf") if noise == 0 else float(10 * np.log10((reference**2).sum() / noise))


def floats(row: Mapping[str, Any], array: Any) -> Any:
    """The numbers that a tap's integers stand for."""
    if row["scale"] is None:
        return np.asarray(array, np.float64)
    return (np.asarray(array, np.float64) - row["zero_point"]) * row["scale"]


def check(found: Mapping[str, Any], original: Any, tapped: Any, least_db: float) -> None:
    """Outputs are the same, and come first; taps are there, finite, of the shapes told, and in order of execution.

    Args:
        found: By the tap's job.
        original, tapped: Both files, loaded.
        least_db: That outputs must agree by; infinite when they must be equal.
    """
    names = [item["name"] for item in original.outputs]
    assert [item["name"] for item in tapped.outputs][: len(names)] == names
    rows = found["taps"]
    assert json.loads(json.dumps(found)) == found  # it crosses a process border
    assert len({row["tensor"] for row in rows}) == len({row["output"] for row in rows}) == len(rows) > 0
    places = {row["tensor"]: place for place, row in enumerate(rows)}
    for place, row in enumerate(rows):
        assert all(places.get(name, -1) < place for name in row["inputs"])
        assert row["inputs"]
    for sample in samples(original.inputs):
        wanted, given = run(original, sample), run(tapped, sample)
        for name in names:
            assert sqnr(wanted[name], given[name]) >= least_db
        for row in rows:
            array = given[row["output"]]
            assert np.isfinite(array.astype(np.float64)).all()
            assert array.dtype.name == row["dtype"]
            if row["shape"]:
                fits = [size in (None, own) for size, own in zip(row["shape"], array.shape, strict=True)]
                assert all(fits), row
