"""torch.export -> TFLite, through litert-torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from converters import arrived, transposes
from converters.graph import TFLITE, TORCH_EXPORT, StepResult
from converters.tflite import _rename
from converters.tflite._fixed_scales import fix
from converters.tflite._open_axes import open_batch
from converters.tflite._unfolded import unfold_weights
from converters.tflite.borders import make_float
from converters.tflite.inspect import float_operators
from converters.tflite.layers import layers_of
from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.quantized import to_float
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, TensorSpec, from_json, to_json

_LARGEST_FILE = 2_000_000_000


def lower(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Lower a program to a float TFLite file whose signature has the user's names.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone.

    Raises:
        UnsupportedError: Operators without a lowering, all of them listed.
    """
    _check_size(Path(source))
    exported, restored = to_float(programs.load(source))
    return _written(exported, output, from_json(Signature, signature), restored)


def lower_quantized(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Lower a program that is in int8 already: its weights keep their integers, its activations their scales.

    What computes between conversions becomes an integer operator where TFLite has one. Arguments and errors are those
    of :func:`lower`.
    """
    exported = programs.load(source)
    module = exported.module(check_guards=False)
    unfold_weights(module)
    fixed = fix(module)
    written = _written(programs.export_like(module, exported), output, from_json(Signature, signature), [], static=True)
    if all(spec.dtype == "float32" for spec in _borders(from_json(Signature, signature))):
        make_float(Path(output))
    stayed = [to_json(item) for item in float_operators(Path(output))]
    return {**written, "stayed_float": stayed, "notes": [arrived.KEPT, *fixed, *written["notes"]]}


def _borders(signature: Signature) -> tuple[TensorSpec, ...]:
    return (*signature.inputs, *signature.outputs)


def _written(exported: Any, output: str, names: Signature, said: list[str], static: bool = False) -> StepResult:
    """Convert a program and write it under the user's names.

    Args:
        exported: ``torch.export.ExportedProgram``.
        output: Path of the file.
        names: Signature with the user's names.
        said: Notes so far.
        static: Whether conversions between operators make integer operators of them.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import litert_torch

    logging.disable(logging.WARNING)
    example = programs.example_inputs(exported)
    own = _input_names(exported)
    inputs = dict(zip(own, example, strict=True))
    shapes = programs.open_shapes(exported)
    module = _named(exported.module(check_guards=False), names)
    try:
        signature_of = litert_torch.signature(
            "serving_default",
            module,
            sample_kwargs=inputs,
            dynamic_shapes=None if shapes is None else dict(zip(own, shapes, strict=True)),
        )
        model = signature_of.convert(strict_export=False, quant_config=_static_config() if static else None)
    except Exception as error:  # the converter raises whatever MLIR said
        operators.check(exported, "TFLite", _unsupported(exported))
        raise ConversionError(f"litert-torch: {type(error).__name__}: {first_line(error)}") from error
    model.export(output)
    batches = [value.shape[0] for value, axes in zip(example, shapes or (), strict=False) if 0 in axes]
    if batches:
        open_batch(Path(output), batches[0])
    if own != [spec.name for spec in names.inputs]:  # no Python argument is called "input:0"
        path = Path(output)
        _rename.to_signature(path.read_bytes(), path, names, own, [spec.name for spec in names.outputs])
    notes = [
        f"Input {spec.name!r} is int32 in the file: TFLite runtimes take no int64."
        for spec in names.inputs
        if spec.dtype == "int64"
    ]
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": [*said, *notes, *transposes.notes(layers_of(Path(output)))],
        "packages": ["litert-torch", "torch"],
    }


def _check_size(program: Path) -> None:
    """Refuse what no file can hold, before the work: offsets in a FlatBuffer are 32 bits with a sign.

    Raises:
        UnsupportedError: The program's weights are more than that.
    """
    size = program.stat().st_size
    if size > _LARGEST_FILE:
        raise UnsupportedError(
            f"The weights are {size / 1e9:.1f} GB, and a TFLite file ends at 2 GB (FlatBuffers count in 31 bits).",
            hint="--to executorch takes larger ones. For TFLite cut the model in parts.",
        )


def _static_config() -> Any:
    """What makes the converter fold conversions into the operators between them; the quantizer it names never runs."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))


def _input_names(exported: Any) -> list[str]:
    """The arguments of a program's module; torch.export writes names small, and not all names are arguments."""
    return [str(node.target) for node in exported.module(check_guards=False).graph.nodes if node.op == "placeholder"]


def _named(module: Any, signature: Signature) -> Any:
    """The same module, returning a dictionary: the converter makes the file's names from its keys.

    A wrapper would do the same, but would take the module paths off the operators, which name them in the file.
    """
    import torch

    (output,) = (node for node in module.graph.nodes if node.op == "output")
    names = [spec.name for spec in signature.outputs]
    output.args = (dict(zip(names, output.args[0], strict=True)),)
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    return torch.fx.GraphModule(module, module.graph)


def _unsupported(exported: Any) -> list[Any]:
    """All nodes for which litert-torch has no lowering, after the decompositions that it runs before."""
    from litert_torch import fx_infra
    from litert_torch.backend import lowerings

    decomposed = fx_infra.safe_run_decompositions(exported, fx_infra.decomp.pre_convert_decomp(), can_skip=False)
    decomposed = fx_infra.safe_run_decompositions(decomposed, fx_infra.decomp.pre_lower_decomp(), can_skip=False)
    calls = (node for node in decomposed.graph.nodes if node.op == "call_function")
    return [node for node in calls if operators.is_aten(node) and lowerings.lookup(node.target) is None]


STEPS = (
    Step(
        name="torch.export -> TFLite",
        source=TORCH_EXPORT,
        target=TFLITE,
        schemes=(("float32", "float32"),),
        entry="converters.tflite.lower:lower",
        preload=("torch", "litert_torch"),
        packages=("litert_torch", "ai_edge_litert"),
        extra="tflite",
    ),
    Step(
        name="quantized torch.export -> TFLite",
        source=TORCH_EXPORT,
        target=TFLITE,
        schemes=(("int8", "int8"),),
        entry="converters.tflite.lower:lower_quantized",
        preload=("torch", "litert_torch"),
        packages=("litert_torch", "ai_edge_litert"),
        extra="tflite",
    ),
)
