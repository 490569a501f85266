"""ONNX -> torch.export, by edgekit's own importer."""

from __future__ import annotations

import keyword
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.graph import StepResult
from converters.onnx import _sizes, loading
from converters.onnx_import import open_axes, quantized_nodes, quantized_program
from converters.onnx_import.folding import fold_constants
from converters.onnx_import.fusing import fuse
from converters.onnx_import.graph import Model, read
from converters.onnx_import.patterns import join
from converters.onnx_import.specialize import Plan, specialize
from converters.onnx_import.tensors import dtype_of
from converters.torch_export import program as programs
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.types import Signature, from_json

_CALL = "converters.onnx_import.module.Call"


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Import a float ONNX file as a flat program, for the shapes that the signature gives its inputs.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone. Sizes that
    the signature leaves open are symbols in the program.

    Raises:
        UnsupportedError: Operators that are not known or cannot be made static, all of them listed; or a size that is
            to stay open, and that the model computes with as a number.
        ConversionError: The file contradicts itself, or does not have the signature's tensors.
    """
    _quiet()
    proto, model = _opened(source)
    return _import(proto, model, output, signature)


def convert_quantized(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
    keep_rounding: bool = False,
) -> StepResult:
    """Import a quantized file: as a program like those of PT2E, or, in float32, as the float one it approximates.

    Arguments and errors are those of :func:`convert`. With ``keep_rounding`` the float32 program rounds activations as
    the file does.
    """
    _quiet()
    kinds = quantized_nodes.Activations
    activations = kinds.INTEGERS if scheme != "float32" else kinds.ROUNDED if keep_rounding else kinds.FLOAT
    proto, model = _opened(source)
    found = quantized_nodes.told_apart(model, activations)
    result = _import(proto, found.model, output, signature, found if activations is kinds.INTEGERS else None)
    result["notes"] += found.notes(activations)
    return result


def _quiet() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def _import(
    proto: Any,
    model: Model,
    output: str,
    signature: dict[str, object],
    quantized: quantized_nodes.Quantized | None = None,
) -> StepResult:
    import torch

    wanted = from_json(Signature, signature)
    axes = open_axes.axes_of(wanted, _sizes.names(proto), _sizes.usual(proto))
    plan = open_plan(model, wanted, axes)
    with torch.no_grad():
        flat = flat_module(plan, axes)
        notes = [] if quantized is None else quantized_program.finish(flat.module, quantized.weights)
        try:
            program = programs.export(flat.module, example_inputs(plan), open_axes.dynamic_shapes(plan, axes))
        except Exception as error:  # what fake tensors let pass, such as weights of another type than the data
            raise ConversionError(f"torch.export: {type(error).__name__}: {first_line(error)}") from error
        programs.save(program, Path(output))
    return {"stayed_float": [], "undelegated": [], "notes": [*flat.notes, *notes], "packages": ["onnx", "torch"]}


def open_plan(model: Model, signature: Signature, axes: Sequence[open_axes.OpenAxis]) -> Plan:
    """The steps of a model, for all sizes of its open axes.

    Args:
        model: The file.
        signature: Its inputs, ``None`` for open axes, and outputs.
        axes: Of :func:`converters.onnx_import.open_axes.axes_of`.

    Raises:
        As :func:`convert`.
    """
    outputs = [spec.name for spec in signature.outputs]
    if not axes:
        return _plan(model, {spec.name: tuple(size or 1 for size in spec.shape) for spec in signature.inputs}, outputs)
    points, plans = open_axes.points(axes), []
    for point in points:
        try:
            plans.append(_plan(model, open_axes.shapes_at(signature, axes, point), outputs))
        except ConversionError as error:
            raise open_axes.not_at(point, error) from error
    return open_axes.join(plans, points, axes)


def plan_of(source: Any, sizes: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> Plan:
    """The steps of a model.

    Args:
        source: Path of the file, or a ``ModelProto``.
        sizes: Shape of every input, by name, in the order the program takes them.
        outputs: Names of the tensors it returns.

    Raises:
        As :func:`convert`.
    """
    return _plan(_opened(source)[1], sizes, outputs)


def _opened(source: Any) -> tuple[Any, Model]:
    """``ModelProto`` and model."""
    apart: Mapping[str, loading.Stretch] = {}
    proto = source
    if isinstance(source, str | Path):
        proto, apart = loading.opened(source)
    else:
        loading.check_versions(proto, "The ONNX model")
        loading.check_functions(proto, "The ONNX model")
    return proto, read(proto, apart)


def _plan(model: Model, sizes: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> Plan:
    unknown = [name for name in sizes if name not in model.graph.inputs]
    missing = [name for name in model.graph.inputs if name not in sizes]
    if unknown or missing:
        raise ConversionError(
            f"The inputs of the ONNX model are {', '.join(model.graph.inputs)}, not {', '.join(sizes)}."
        )
    inputs = {}
    for name, shape in sizes.items():
        if name not in model.graph.types:
            raise UnsupportedError(f"Input {name!r} of the ONNX model is a sequence or optional, not a tensor.")
        inputs[name] = (dtype_of(model.graph.types[name][0]), shape)
    return fuse(specialize(model, inputs, outputs))


def example_inputs(plan: Plan) -> tuple[Any, ...]:
    """Zeros of the shapes that a plan is for."""
    import torch

    return tuple(torch.zeros(tuple(value.tensor.shape), dtype=value.tensor.dtype) for value in plan.inputs)


def exported(plan: Plan, axes: Sequence[open_axes.OpenAxis] = ()) -> Any:
    """A plan as ``torch.export.ExportedProgram``; its nodes have the module paths of the ONNX nodes.

    Args:
        plan: The steps.
        axes: Sizes that stay open; the plan is that of :func:`open_plan`.

    Raises:
        ConversionError: torch cannot trace it.
        UnsupportedError: Not with these sizes open.
    """
    import torch

    from converters.onnx_import.module import Imported

    module = Imported(plan, axes).eval()
    shapes = open_axes.dynamic_shapes(plan, axes)
    try:
        program = torch.export.export(
            module, example_inputs(plan), dynamic_shapes=None if shapes is None else (shapes,), strict=False
        )
    except UnsupportedError:
        raise
    except Exception as error:  # the tracer raises whatever it met
        if axes:
            raise open_axes.not_traced(error) from error
        raise ConversionError(f"torch.export: {type(error).__name__}: {first_line(error)}") from error
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack:
            own = list(stack.values())[-1][0]
            node.meta["nn_module_stack"] = _levels(module.paths.get(own, own))
    return program


def _levels(path: str) -> dict[str, tuple[str, str]]:
    """The modules around a node, from the outermost: converters name operators by all of them.

    The path is the node's own, where several nodes have one and the modules that call them had to get numbers.
    """
    # A .pt2 file writes these as lists with semicolons, commas and brackets, and cannot read them in a name again.
    path = re.sub(r"[,(){}\[\]]", "_", path.replace(";", "+"))
    parts = path.split(".")
    above = [".".join(parts[:count]) for count in range(len(parts))]
    return {**{item: (item, "torch.nn.modules.module.Module") for item in above}, path: (path, _CALL)}


def flat_module(plan: Plan, axes: Sequence[open_axes.OpenAxis] = ()) -> programs.Flat:
    """A plan in the normal shape of programs, under the names of the ONNX file where Python allows them.

    What constants alone decide is computed, BatchNorm is folded, operators that were written out are one again.
    """
    values = [value.tensor for value in plan.outputs]
    flat = programs.flatten(exported(plan, axes), values, [safe_name(value.name) for value in plan.inputs])
    fold_constants(flat.module)
    join(flat.module)
    return flat


def safe_name(name: str) -> str:
    """A name as an argument of a Python function can have it."""
    changed = re.sub(r"\W", "_", name) or "input"
    return f"_{changed}" if changed[0].isdigit() or keyword.iskeyword(changed) else changed
