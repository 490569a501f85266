"""StableHLO -> TFLite, through the MLIR passes of LiteRT's converter, which need no TensorFlow."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from converters import transposes
from converters.facts import unchecked_reading
from converters.graph import STABLEHLO, TFLITE, StepResult
from converters.jax import activations, loops, stablehlo, transposed
from converters.saved_model import form
from converters.tflite import _file
from converters.tflite._rename import to_signature
from converters.tflite.layers import of as layers_of
from edgekit import registry
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, from_json

# The converter's interface is no public one: what is used of it, and what to do without it, is said here.
_EXTENSION = "litert_converter.mlir._mlir_libs.converter_api_ext"
_USED = (
    "ConvertToTFLConfig prepare_mlir_context set_signature merge_modules run_convert_to_tfl_passes "
    "export_flatbuffer_to_file"
).split()
_PASSES = "builtin.module(vhlo-legalize-stablehlo,reconcile-unrealized-casts,inline,symbol-dce,canonicalize)"

_ILLEGAL = re.compile(r"failed to legalize operation '([\w.]+)'[^:]*: .*? = (.*)")
_NOT_HELD = re.compile(r"xbf16|xui64|xui32|xi8|xi64|xf64|complex")


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Convert a program to a float TFLite file whose signature has the user's names.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone.

    Raises:
        UnsupportedError: Operators that TFLite or its runtime has not, all that are known listed.
        MissingDependencyError: The installed converter is too new for this way, and there is no TensorFlow.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import jax

    jax.config.update("jax_platforms", "cpu")
    exported = jax.export.deserialize(bytearray(Path(source).read_bytes()))
    names = from_json(Signature, signature)
    _refuse_calls(exported)
    extension = _extension()
    if extension is None:
        notes = _by_tensorflow(exported, output, names)
        packages = ["jax", "tensorflow"]
    else:
        notes, packages = [], ["jax", "litert-converter"]
        _by_passes(extension, exported, output, names)
    layers = layers_of(_runnable(Path(output)))
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": [*notes, *transposes.notes(layers)],
        "packages": packages,
    }


def _extension() -> Any:
    """The converter's own module, ``None`` where it has changed."""
    try:
        found = importlib.import_module(_EXTENSION)
    except ImportError:
        return None
    return found if all(hasattr(found, name) for name in _USED) else None


def _refuse_calls(exported: Any) -> None:
    targets = stablehlo.custom_calls(stablehlo.parse(exported.mlir_module())) - {"shape_assertion"}
    if targets:
        raise UnsupportedError(
            f"TFLite has no counterpart of the functions that the program calls: {', '.join(sorted(targets))}.",
            hint="Those of LAPACK belong to jax.numpy.linalg; compute such matrices before, or write the formula out.",
        )


def _by_passes(extension: Any, exported: Any, output: str, signature: Signature) -> None:
    from litert_converter.mlir import ir, passmanager

    context = ir.Context()
    extension.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(_portable(exported))
        passmanager.PassManager.parse(_PASSES).run(module.operation)
        activations.fuse_gelu(module)
        transposed.even_out(module)
        extension.set_signature(
            module.operation,
            signature_name="serving_default",
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
        )
        merged = extension.merge_modules([module])
        config = extension.ConvertToTFLConfig()
        for name, value in _config().items():
            if hasattr(config, name):
                setattr(config, name, value)
        try:
            extension.run_convert_to_tfl_passes(merged, passmanager.PassManager(), config)
            loops.outline(merged)
            extension.export_flatbuffer_to_file(merged.operation, output)
        except (ValueError, RuntimeError, ir.MLIRError) as error:  # MLIR says the rest
            raise _failed(error, exported) from error


def _config() -> dict[str, Any]:
    return {
        "model_origin_framework": "JAX",
        "unsafe_fuse_dynamic_shaped_broadcast": True,
        "canonicalizing_inf_as_min_max_float": False,
        "enable_x64": False,
    }


def _portable(exported: Any) -> bytes | str:
    """The module in a form that other versions of MLIR read, where nothing in it is open."""
    text = str(exported.mlir_module())
    fixed = stablehlo.static(text)
    return bytes(exported.mlir_module_serialized) if fixed == text else fixed


def _failed(error: Exception, exported: Any) -> ConversionError | UnsupportedError:
    said = str(error)
    found = Counter(f"{name} on {_types(rest)}" for name, rest in _ILLEGAL.findall(said))
    if not found:
        return ConversionError(f"LiteRT's converter: {first_line(error)}")
    listed = ", ".join(name.replace("tfl.", "").replace("stablehlo.", "") for name in found)
    where = re.search(r"([\w.-]+\.py):(\d+):\d+: error", said)
    place = f" ({where[1]}, line {where[2]})" if where else ""
    return UnsupportedError(f"TFLite has no counterpart of {listed}{place}.", hint=_advice(said, exported))


def _types(operation: str) -> str:
    """Element types of an operation's inputs and outputs."""
    return ", ".join(dict.fromkeys(re.findall(r"tensor<(?:[\dx?]+x)?(\w+)", operation.rpartition(" : ")[2])))


def _advice(said: str, exported: Any) -> str:
    if "threefry" in exported.mlir_module() or "random_bits" in said:
        return (
            "Random numbers are drawn inside the function. Make weights outside of it, and use the evaluation mode of "
            "dropout: a file has no random numbers."
        )
    odd = _NOT_HELD.search(said)
    dtypes = {"xbf16": "bfloat16", "xui64": "uint64", "xui32": "uint32", "xi8": "int8", "xi64": "int64"}
    if odd and odd[0] in dtypes:
        return f"It is about {dtypes[odd[0]]}: compute in float32 or int32 there."
    return "Write this part of the function with other operations."


def _runnable(path: Path) -> _file.Model:
    """The file, read; refused where operators passed through as they were and the runtime has no kernel for them."""
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        model = _file.read(path)
    kinds = Counter(item.kind for graph in model.subgraphs for item in graph)
    odd = [kind for kind in kinds if kind.startswith(("custom:", "STABLEHLO_")) and kind != "STABLEHLO_COMPOSITE"]
    if not odd:
        return model
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        path.unlink()
        shown = ", ".join(kind.removeprefix("custom:").removeprefix("STABLEHLO_").lower() for kind in odd)
        raise UnsupportedError(
            f"LiteRT has no kernel for operators of this program: {shown}.",
            hint="Sorting: jax.lax.top_k has a counterpart." if "STABLEHLO_SORT" in odd else "",
        ) from error
    return model


def _by_tensorflow(exported: Any, output: str, signature: Signature) -> list[str]:
    """The long way round, for a converter whose interface has changed."""
    what = "The installed litert-converter has another interface than edgekit knows; converting JAX without it"
    registry.require(("tensorflow",), "tensorflow", what)
    import tensorflow as tf

    try:
        from jax.experimental import jax2tf
    except ImportError as error:
        raise UnsupportedError(
            f"{what} takes jax2tf, which this JAX no longer has.", hint="pip install 'litert-converter==0.5.*'"
        ) from error
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as scratch:
        folder = Path(scratch) / "model"
        form.write(jax2tf.convert(exported.call, with_gradient=False), signature, folder)
        content = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    inputs = [form.input_name(index) for index in range(len(signature.inputs))]
    outputs = [form.output_name(index) for index in range(len(signature.outputs))]
    to_signature(content, Path(output), signature, inputs, outputs)
    return ["Converted through TensorFlow: the installed litert-converter has another interface than edgekit knows."]


STEPS = (
    Step(
        name="StableHLO -> TFLite",
        source=STABLEHLO,
        target=TFLITE,
        schemes=(("float32", "float32"),),
        entry="converters.tflite.from_stablehlo:convert",
        preload=("jax",),
        packages=("jax", "ai_edge_litert"),
        extra="jax",
    ),
)
