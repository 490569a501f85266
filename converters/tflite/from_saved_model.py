"""SavedModel -> TFLite, through TensorFlow's own converter."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from pathlib import Path

from converters import transposes
from converters.graph import SAVED_MODEL, TFLITE, StepResult
from converters.saved_model import form, frozen, operators
from converters.saved_model.scopes import path_of
from converters.tflite import _file
from converters.tflite._rename import changed_dtypes, to_signature
from converters.tflite.layers import of as layers_of
from edgekit.errors import ConversionError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, from_json

_SELECT = "--allow-select-ops takes TensorFlow's own kernels for them into the file"
_NEEDED = re.compile(r"(?:TF Select|Custom) ops: ([^\n]+)")


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
    allow_select_ops: bool = False,
) -> StepResult:
    """Convert a SavedModel form to a float TFLite file whose signature has the user's names.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone. With
    ``allow_select_ops``, operators that LiteRT lacks are taken as TensorFlow's (``Flex…``), and a note says which.

    Raises:
        UnsupportedError: Operators that LiteRT lacks, all of them listed.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    logging.disable(logging.WARNING)
    names = from_json(Signature, signature)
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as folder:
        graph = frozen.freeze(source, len(names.inputs), len(names.outputs))
        frozen.save(graph, Path(folder, "frozen"))
        made, foreign = _convert(str(Path(folder, "frozen")), Path(folder, "foreign.tflite"), allow_select_ops)
    model = to_signature(
        made,
        Path(output),
        names,
        [form.input_name(index) for index in range(len(names.inputs))],
        [form.output_name(index) for index in range(len(names.outputs))],
        graph.makers,
    )
    notes = [f"{name!r} is {dtype} in the file." for name, dtype in changed_dtypes(model, names).items()]
    if foreign:
        notes.append(
            f"Needs a runtime with the Flex delegate (TensorFlow's kernels): {operators.listed(foreign)}. LiteRT's own "
            "Python package has none."
        )
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": [*notes, *transposes.notes(layers_of(model))],
        "packages": ["tensorflow"],
    }


def _convert(folder: str, scratch: Path, allow_select_ops: bool) -> tuple[bytes, dict[str, list[str]]]:
    """The file, and the operators in it that only TensorFlow has."""
    try:
        return _run(folder), {}
    except Exception as error:  # the converter raises whatever MLIR said
        said, first = str(error), first_line(error)
    # Its message names some of the operators that are missing; a file that may hold them names all, with their layers.
    without_kernel: list[str] = []
    try:
        scratch.write_bytes(_run(folder, select=True))
    except Exception as error:
        without_kernel = _named(str(error))
        _as_custom(folder, scratch, [*without_kernel, *_named(said)], first)
    found = [(name.removeprefix("Flex"), path) for name, path in _foreign(_file.read(scratch))]
    if not found:
        raise ConversionError(f"TensorFlow's TFLite converter: {first}")
    if without_kernel or not allow_select_ops:
        operators.check("TFLite", found, _hint(without_kernel))
    return scratch.read_bytes(), operators.grouped(found)


def _as_custom(folder: str, scratch: Path, named: list[str], first: str) -> None:
    """Write a file in which operators without any kernel stand as custom ones, to list them.

    Raises:
        UnsupportedError: That cannot be done either, but the converter has named some.
        ConversionError: It has named none.
    """
    try:
        scratch.write_bytes(_run(folder, select=True, custom=True))
    except Exception as error:
        operators.check("TFLite", [(name, "") for name in named], _hint(named))
        raise ConversionError(f"TensorFlow's TFLite converter: {first}") from error


def _run(folder: str, *, select: bool = False, custom: bool = False) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[form.SERVING])
    sets = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.target_spec.supported_ops = [*sets, tf.lite.OpsSet.SELECT_TF_OPS] if select else sets
    converter.allow_custom_ops = custom
    return bytes(converter.convert())


def _foreign(model: _file.Model) -> list[tuple[str, str]]:
    """Operators without a kernel in LiteRT, with the layers they are in."""
    found = []
    for graph in model.subgraphs:
        for item in graph:
            if item.kind.startswith("custom:"):
                names = [path_of(tensor.name.split(";")[0]) for tensor in item.outputs]
                found.append((item.kind.removeprefix("custom:"), next(filter(None, names), "")))
    return found


def _named(message: str) -> list[str]:
    """The operators in the converter's message."""
    return [name.strip() for group in _NEEDED.findall(message) for name in group.split(",") if name.strip()]


def _hint(without_kernel: list[str]) -> str:
    """What to do: TensorFlow's kernels do not help operators that it has none of for this."""
    if without_kernel:
        return (
            f"No runtime has {', '.join(dict.fromkeys(without_kernel))} in TFLite. Rewrite these places with other "
            "operators, or choose another target (edgekit list)."
        )
    return f"Rewrite these places with other operators, or choose another target (edgekit list). {_SELECT}."


STEPS = (
    Step(
        name="SavedModel -> TFLite",
        source=SAVED_MODEL,
        target=TFLITE,
        schemes=(("float32", "float32"),),
        entry="converters.tflite.from_saved_model:convert",
        preload=("tensorflow",),
        packages=("tensorflow", "ai_edge_litert"),
        extra="tensorflow",
        options=("allow_select_ops",),
    ),
)
