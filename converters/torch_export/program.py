"""The normal shape of a program: flat tensors in and out, safe names, BatchNorm folded, ready for every target.

``torch.export`` programs differ in how they were made: nested inputs, parameter names that start with a digit (which
ExecuTorch's XNNPACK passes cannot digest), BatchNorm in several spellings. Here they become one kind.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.torch_export import masks
from converters.torch_export.batch_norm import fold
from converters.torch_export.spelling import normalize
from edgekit import registry
from edgekit.errors import ConversionError, UnsupportedError
from edgekit.types import Signature, TensorSpec

_OPERATORS_OF_TORCHAO = (b"torch.ops.quantized_decomposed.", b"torch.ops.torchao.", b"torch.ops.pt2e_quant.")


@dataclass(frozen=True)
class Flat:
    """A program with tensors in and tensors out.

    Attributes:
        module: ``torch.fx.GraphModule`` that takes the inputs in order and returns a tuple.
        signature: With the names a user knows.
        notes: What was changed, a sentence each.
    """

    module: Any
    signature: Signature
    notes: tuple[str, ...]


def flatten(exported: Any, outputs: list[Any], input_names: list[str] | None = None) -> Flat:
    """Bring a program into its normal shape.

    Args:
        exported: ``torch.export.ExportedProgram`` with example inputs.
        outputs: What the program returned for them, flattened: gives dtypes and shapes.
        input_names: In place of the program's own, where those are not the user's.

    Raises:
        UnsupportedError: It changes its own buffers, or returns no tensor.
    """
    import torch

    module = exported.module(check_guards=False)
    _refuse_state(exported, module)
    inputs = _strip_containers(module, exported, input_names)
    names = _output_names(exported)
    normalize(module)
    masks.simplify(module)
    notes = fold(module)
    module = _with_safe_names(module)
    chosen = [index for index, value in enumerate(outputs) if isinstance(value, torch.Tensor)]
    signature = Signature(
        inputs=tuple(inputs),
        outputs=tuple(_spec(_distinct(names[i], inputs), outputs[i]) for i in chosen),
    )
    return Flat(module, signature, tuple(notes))


def _refuse_state(exported: Any, module: Any) -> None:
    """A converted file would compute the same at every run."""
    mutated = set(exported.graph_signature.buffers_to_mutate.values())
    for node in module.graph.nodes:
        # Before decomposition, a change is an in-place operator on an attribute.
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and getattr(node.args[0], "op", "") == "get_attr":
            mutated.add(str(node.args[0].target))
    if mutated:
        raise UnsupportedError(
            f"The model changes its own state at every run ({', '.join(sorted(mutated)[:5])}).",
            hint="Make the state an input and an output of forward(), or export the model in eval mode.",
        )


def _strip_containers(module: Any, exported: Any, names: list[str] | None) -> list[TensorSpec]:
    """Replace the calling convention of a program's module by flat placeholders and a flat tuple."""
    import torch
    from torch.utils import _pytree

    module.graph.set_codegen(torch.fx.graph.CodeGen())
    values = _pytree.tree_leaves(exported.example_inputs)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    specs: list[TensorSpec] = []
    for node, value in zip(placeholders, values, strict=True):
        if isinstance(value, torch.Tensor):
            if names is not None:
                node.target = names[len(specs)]
            specs.append(_spec(str(node.target), value))
            continue
        # A number or a flag was specialized at export; it is no input of the converted file.
        if node.users:
            raise UnsupportedError(f"Input {node.target!r} is a {type(value).__name__}, not a tensor.")
        module.graph.erase_node(node)
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    tensors = tuple(item for item in output.args[0] if isinstance(item, torch.fx.Node))
    if not tensors:
        raise UnsupportedError("The model returns no tensor.")
    output.args = (tensors,)
    module.recompile()
    return specs


def _output_names(exported: Any) -> list[str]:
    """``output``, ``output_0``…, or the keys of a dict or data class that forward() returns."""
    from torch.utils import _pytree

    spec = exported.call_spec.out_spec
    tree = _pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths, _ = _pytree.tree_flatten_with_path(tree)
    names = []
    for path, _leaf in paths:
        parts = [re.sub(r"^_+|_+$", "", re.sub(r"\W+", "_", str(key))) for key in path]
        joined = "_".join(part for part in parts if part)
        names.append("output" if not joined else f"output_{joined}" if joined[0].isdigit() else joined)
    return names


def _distinct(name: str, inputs: list[TensorSpec]) -> str:
    return f"{name}_out" if name in {spec.name for spec in inputs} else name


def _spec(name: str, value: Any) -> TensorSpec:
    return TensorSpec(name, tuple(int(size) for size in value.shape), str(value.dtype).removeprefix("torch."))


def _with_safe_names(module: Any) -> Any:
    """The same graph over flat, valid attribute names: ``0.weight`` becomes ``p_0_weight``."""
    import torch

    root = torch.nn.Module()
    renamed: dict[str, str] = {}
    for node in module.graph.nodes:
        if node.op != "get_attr":
            continue
        target = str(node.target)
        if target not in renamed:
            name = "p_" + re.sub(r"\W", "_", target)
            while hasattr(root, name):
                name += "_"
            value = _attribute(module, target)
            if isinstance(value, torch.Tensor):
                root.register_buffer(name, value.detach().contiguous())
            else:
                setattr(root, name, value)
            renamed[target] = name
        node.target = renamed[target]
    return torch.fx.GraphModule(root, module.graph)


def _attribute(module: Any, target: str) -> Any:
    for part in target.split("."):
        module = getattr(module, part)
    return module


def leaves(value: Any) -> list[Any]:
    """The tensors and other values in nested containers, in torch.export's order."""
    from torch.utils import _pytree

    return list(_pytree.tree_leaves(value))


def export(module: Any, args: tuple[Any, ...], shapes: Any = None) -> Any:
    """Export a flat module again; parameters and inputs keep their names, nodes their stack traces.

    Args:
        module: Takes the arguments in order.
        args: Examples.
        shapes: ``dynamic_shapes`` of ``torch.export``; ``None`` where all sizes are fixed.
    """
    import torch

    return torch.export.export(module, args, dynamic_shapes=shapes, strict=False)


def export_like(module: Any, exported: Any) -> Any:
    """Export a module that was made from a program, with that program's example inputs and open axes."""
    return export(module, example_inputs(exported), open_shapes(exported))


def open_shapes(exported: Any) -> tuple[dict[int, Any], ...] | None:
    """``dynamic_shapes`` for a module with the inputs of a flat program; ``None`` where all its sizes are fixed."""
    from torch.export import Dim

    names = set(exported.graph_signature.user_inputs)
    values = [node.meta["val"] for node in exported.graph.nodes if node.name in names]
    bounds = exported.range_constraints
    shapes: list[dict[int, Any]] = []
    for value in values:
        sizes = {axis: size for axis, size in enumerate(value.shape) if not isinstance(size, int)}
        ranges = {axis: bounds[size.node.expr] for axis, size in sizes.items()}
        shapes.append({axis: Dim.DYNAMIC(min=int(item.lower), max=int(item.upper)) for axis, item in ranges.items()})
    return tuple(shapes) if any(shapes) else None


def fingerprint(module: Any) -> str:
    """A hash of what a graph module computes: its operators and its weights. The same in every run.

    Args:
        module: A flat one, as :func:`flatten` makes it.
    """
    import torch

    found = hashlib.sha256()
    for node in module.graph.nodes:
        found.update(f"{node.op} {node.name} {node.target} {node.args} {node.kwargs}\n".encode())
        if node.op == "get_attr":
            value = _attribute(module, str(node.target))
            if isinstance(value, torch.Tensor):
                found.update(f"{value.dtype} {tuple(value.shape)}".encode())
                found.update(memoryview(value.detach().contiguous().view(-1).view(torch.uint8).numpy()))
    return found.hexdigest()


def save(exported: Any, path: Path) -> None:
    """Write a program."""
    import torch

    torch.export.save(exported, path)


def register_operators(path: Path | str) -> None:
    """Import the package whose operators a program of quantized layers calls; torch cannot load it without.

    Args:
        path: A ``.pt2`` archive.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with zipfile.ZipFile(path) as archive:
        graphs = (name for name in archive.namelist() if "/models/" in name and name.endswith(".json"))
        needed = any(word in archive.read(name) for name in graphs for word in _OPERATORS_OF_TORCHAO)
    if needed:
        registry.require(("torchao",), "executorch", f"Reading the quantized program {Path(path).name}")
        importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")


def load(path: str) -> Any:
    """The program that :func:`save` wrote.

    Raises:
        ConversionError: It has no example inputs.
    """
    import torch

    register_operators(path)
    exported = torch.export.load(path)
    if exported.example_inputs is None:
        raise ConversionError(f"{path}: a program without example inputs.")
    for node in exported.graph.nodes:
        # The history of each node, which every pass of a converter would deep-copy and make longer.
        node.meta.pop("from_node", None)
    return exported


def example_inputs(exported: Any) -> tuple[Any, ...]:
    """Its example inputs, contiguous: ExecuTorch refuses the odd strides of views with sizes of 1."""
    return tuple(compact(value) for value in exported.example_inputs[0])


def compact(value: Any) -> Any:
    """A copy with the strides that its shape says: ``contiguous()`` leaves odd ones of sizes of 1 alone."""
    import torch

    return value.detach().clone(memory_format=torch.contiguous_format)
