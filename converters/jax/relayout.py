"""``--layout`` on a JAX program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import layouts
from converters.graph import STABLEHLO
from edgekit.plugins import Relayout
from edgekit.types import Signature


def relayout(request: dict[str, Any], signature: dict[str, Any], program: str, native: str) -> dict[str, Any]:
    """See :func:`converters.layouts.relayout`."""
    return layouts.relayout(request, signature, program, native, _rewrite)


def _rewrite(source: Path, output: Path, signature: Signature, changes: Mapping[str, layouts.Change]) -> None:
    """Transpose at the inputs; the converter's own passes join that with the transpositions that they put there."""
    import jax

    exported = jax.export.deserialize(bytearray(source.read_bytes()))
    taken = [changes[spec.name].taken if spec.name in changes else None for spec in signature.inputs]

    def turned(*arrays: Any) -> Any:
        pairs = zip(arrays, taken, strict=True)
        return exported.call(*(array if axes is None else array.transpose(axes) for array, axes in pairs))

    turned.__name__ = turned.__qualname__ = exported.fun_name
    specs = layouts.changed(signature, changes).inputs
    shapes = [jax.ShapeDtypeStruct(spec.shape, spec.dtype) for spec in specs]
    made = jax.export.export(jax.jit(turned, keep_unused=True), platforms=("cpu",))(*shapes)
    output.write_bytes(made.serialize())


RELAYOUT = Relayout(
    form=STABLEHLO,
    entry="converters.jax.relayout:relayout",
    preload=("jax",),
)
