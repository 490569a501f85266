"""``--layout`` on a SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import layouts
from converters.graph import SAVED_MODEL
from converters.saved_model import form
from edgekit.plugins import Relayout
from edgekit.types import Signature


def relayout(request: dict[str, Any], signature: dict[str, Any], program: str, native: str) -> dict[str, Any]:
    """See :func:`converters.layouts.relayout`."""
    return layouts.relayout(request, signature, program, native, _rewrite)


def _rewrite(source: Path, output: Path, signature: Signature, changes: Mapping[str, layouts.Change]) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source))
    serve = loaded.signatures[form.SERVING]
    found = [changes.get(spec.name) for spec in signature.inputs]

    def turned(*values: Any) -> list[Any]:
        given = {
            form.input_name(index): value if change is None else tf.transpose(value, change.taken)
            for index, (value, change) in enumerate(zip(values, found, strict=True))
        }
        results = serve(**given)
        return [results[form.output_name(index)] for index in range(len(signature.outputs))]

    form.write(turned, layouts.changed(signature, changes), output, loaded)


RELAYOUT = Relayout(
    form=SAVED_MODEL,
    entry="converters.saved_model.relayout:relayout",
    preload=("tensorflow",),
)
