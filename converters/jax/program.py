"""A function of flat arrays with static shapes: its signature, how it runs, and how it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.jax import callables, stablehlo
from edgekit.errors import UnsupportedError, UsageError
from edgekit.feeds import Array
from edgekit.types import Signature, TensorSpec

_WIDE = {"float64": "float32", "int64": "int32", "uint64": "uint32"}


@dataclass(frozen=True)
class Program:
    """A model that is ready to run and to write.

    Attributes:
        function: Takes the inputs in order; returns a tuple of the outputs in order; named as the user's is.
        signature: With static shapes.
        what: ``FILE.py:NAME`` or the file, for messages.
    """

    function: Callable[..., tuple[Any, ...]]
    signature: Signature
    what: str

    def lowered(self) -> Any:
        """As JAX lowers it: ``jax.stages.Lowered``."""
        import jax

        jitted = jax.jit(self.function, keep_unused=True)
        return callables.traced(self.what, jitted.lower, *shapes(self.signature.inputs))

    def runner(self) -> Callable[[dict[str, Array]], dict[str, Array]]:
        """Runs it in JAX on one sample, compiled once."""
        import jax

        jitted = jax.jit(self.function)

        def run(sample: dict[str, Array]) -> dict[str, Array]:
            arguments = (sample[spec.name] for spec in self.signature.inputs)
            results = callables.traced(self.what, jitted, *arguments)
            return {spec.name: np.asarray(value) for spec, value in zip(self.signature.outputs, results, strict=True)}

        return run

    def write(self, path: Path) -> None:
        """Write it as a serialized ``jax.export.Exported`` for the CPU."""
        import jax

        exporter = jax.export.export(jax.jit(self.function, keep_unused=True), platforms=("cpu",))
        exported = callables.traced(self.what, exporter, *shapes(self.signature.inputs))
        path.write_bytes(exported.serialize())


def settle(function: Callable[..., Any], inputs: Sequence[TensorSpec], name: str, what: str) -> Program:
    """Trace a function once: its outputs get names, shapes and dtypes.

    Args:
        function: Of flat arrays, returns arrays in any containers.
        inputs: With static shapes.
        name: Of the function, which names operators in files.
        what: For messages.

    Raises:
        UsageError: An input has a dtype that JAX does not compute in.
        ConversionError: The function does not take these inputs.
        UnsupportedError: It returns no array, or one of a dtype that files cannot hold.
    """
    import jax

    _refuse_wide(inputs, what)
    made = callables.traced(what, jax.eval_shape, function, *shapes(inputs))
    leaves = jax.tree_util.tree_flatten_with_path(made)[0]
    if not leaves:
        raise UnsupportedError(f"{what}: the function returns no array.", hint="Let it return an array, or a dict.")

    def flat(*arrays: Any) -> tuple[Any, ...]:
        return tuple(jax.tree_util.tree_leaves(function(*arrays)))

    flat.__name__ = flat.__qualname__ = name
    taken = {spec.name for spec in inputs}
    outputs = []
    for path, leaf in leaves:
        own = _output_name(path)
        outputs.append(TensorSpec(f"{own}_out" if own in taken else own, tuple(leaf.shape), str(leaf.dtype)))
    _refuse_outputs(outputs, what)
    return Program(flat, Signature(tuple(inputs), tuple(_distinct(outputs))), what)


def shapes(specs: Sequence[TensorSpec]) -> list[Any]:
    """What JAX traces functions with."""
    import jax

    return [jax.ShapeDtypeStruct(spec.shape, spec.dtype) for spec in specs]


def fingerprint(lowered: Any) -> str:
    """A hash of what a lowered function computes, weights included, wherever its code stands."""
    return hashlib.sha256(stablehlo.text(lowered.compiler_ir("stablehlo")).encode()).hexdigest()


def _output_name(path: tuple[Any, ...]) -> str:
    """``output``, ``output_0``…, or the keys of a dict; as with PyTorch models."""
    joined = stablehlo.plain_name("_".join(stablehlo.key_text(key) for key in path))
    return "output" if not joined else f"output_{joined}" if joined[0].isdigit() else joined


def _distinct(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Keys that differ in punctuation alone get a number."""
    seen: dict[str, int] = {}
    found = []
    for spec in specs:
        seen[spec.name] = seen.get(spec.name, 0) + 1
        found.append(spec if seen[spec.name] == 1 else replace(spec, name=f"{spec.name}_{seen[spec.name]}"))
    return found


def _refuse_wide(inputs: Sequence[TensorSpec], what: str) -> None:
    for spec in inputs:
        if spec.dtype in _WIDE:
            sizes = ",".join(map(str, spec.shape))
            raise UsageError(
                f"{what}: input {spec.name!r} is {spec.dtype}; JAX computes in 32 bits by default, and so do edge "
                "runtimes.",
                hint=f"--input {spec.name}={sizes}:{_WIDE[spec.dtype]}   (a program: export it again in 32 bits)",
            )


def _refuse_outputs(outputs: Sequence[TensorSpec], what: str) -> None:
    for spec in outputs:
        if spec.dtype in _WIDE:
            raise UsageError(
                f"{what}: output {spec.name!r} is {spec.dtype}: the code switches JAX to 64 bits.",
                hint="Leave jax_enable_x64 off.",
            )
        if np.dtype(spec.dtype).kind not in "fiub":
            raise UnsupportedError(
                f"{what}: output {spec.name!r} is {spec.dtype}, which files cannot return.",
                hint="Return the real and imaginary parts."
                if "complex" in spec.dtype
                else "Return x.astype('float32').",
            )
