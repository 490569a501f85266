"""Functions of JAX that tests convert, and how they are run from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from converters.jax import program as programs
from converters.tflite import from_stablehlo
from edgekit.types import TensorSpec, to_json

SPEC = tuple[str, tuple[int, ...], str]


def settled(function: Callable[..., Any], *inputs: SPEC) -> programs.Program:
    specs = [TensorSpec(*item) for item in inputs]
    return programs.settle(function, specs, "net", "net.py:net")


def export(function: Callable[..., Any], path: Path, *shapes: Any, platforms: Sequence[str] = ("cpu",)) -> Path:
    """A program as a user writes it."""
    import jax

    path.write_bytes(jax.export.export(jax.jit(function), platforms=platforms)(*shapes).serialize())
    return path


def convert(program: programs.Program, folder: Path) -> tuple[Path, list[str]]:
    """The file, and the notes of the step."""
    source, output = folder / "net.jaxexport", folder / "net.tflite"
    program.write(source)
    result = from_stablehlo.convert(str(source), str(output), "float32", to_json(program.signature), None, {})
    return output, result["notes"]


def samples(program: programs.Program) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    return {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else generator.integers(0, 20, spec.shape).astype(spec.dtype)
        for spec in program.signature.inputs
    }


def run(file: Path, sample: dict[str, Any]) -> dict[str, Any]:
    runner = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
    return dict(runner(**sample))


def sqnr_db(wanted: Any, found: Any) -> float:
    assert wanted.shape == found.shape
    noise = np.square(wanted.astype(np.float64) - found).sum()
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / noise)) if noise else np.inf


def compare(program: programs.Program, folder: Path, least_db: float = 100) -> Path:
    """Convert, run both, and ask for that much of every output."""
    file, _ = convert(program, folder)
    sample = samples(program)
    wanted, found = program.runner()(sample), run(file, sample)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert sqnr_db(values, found[name]) >= least_db, name
    return file
