"""A PyTorch model from its file to a program and reference outputs, in one child.

User code runs in here, with edgekit's own packages out of sight: everything of edgekit's that is needed is imported
at the top of this file and nowhere later (see :mod:`converters.user_code`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters import dynamic, opening, user_code
from converters.pytorch import inputs as example_inputs
from converters.pytorch import open_axes
from converters.pytorch.reading import Network, read, refuse_training_mode
from converters.torch_export import program as programs
from converters.torch_export import training_data
from converters.torch_export.quantized import quantized_operators
from edgekit import feeds as feeds_files
from edgekit.data import SEED, Dataset
from edgekit.errors import ConversionError, UsageError, first_line
from edgekit.feeds import Array, Feeds
from edgekit.inputs import parse
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, TensorSpec


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.pytorch.load`."""
    import torch

    torch.manual_seed(SEED)
    path = Path(request.path)
    with user_code.user_imports(*user_code.folders_of(request.model_code, path)), torch.no_grad():
        network, exported, names = open_exported(request)
        return finish(request, network, exported, names)


def finish(
    request: LoadRequest,
    network: Network,
    exported: Any,
    names: list[str] | None = None,
    made: Callable[[int, int], Feeds] | None = None,
) -> Loaded:
    """What comes behind the export: samples, the network's own outputs on them, and the program.

    Call inside :func:`converters.user_code.user_imports` and ``torch.no_grad()``.

    Args:
        request: Of the job.
        network: Runs for reference.
        exported: Its ``torch.export.ExportedProgram``, with static example inputs.
        names: Of the inputs, where the program's are not it.
        made: Makes samples where there is no data, see :func:`converters.opening.write_feeds`.
    """
    path, into = Path(request.path), Path(request.into)
    outputs = programs.leaves(run_network(network, exported.example_inputs, path))
    if request.dynamic:
        usual = programs.flatten(exported, outputs, names).signature
        exported = open_axes.open_program(request, network, exported, usual)
    flat = programs.flatten(exported, outputs, names)
    chosen = opening.write_feeds(request, flat.signature, _embedding_rows(exported, flat.signature), made)
    run = _runner(network, exported, flat.signature, outputs, path)
    opening.write_reference(request, flat.signature, chosen, run)
    suspicion, doubts = _judge_data(exported, flat.signature, chosen, request)
    if request.program:
        open_axes.save(flat.module, exported, flat.signature, request, into / "program.pt2")
    signature = dynamic.write_sizes(request, flat.signature, chosen, run)
    return opening.loaded(
        request,
        kind=str(network.kind),
        signature=signature,
        program="program.pt2",
        fingerprint=programs.fingerprint(flat.module),
        quantized=bool(quantized_operators(flat.module)),
        notes=[*network.notes, *flat.notes, *doubts],
        suspicion=suspicion,
    )


def open_exported(request: LoadRequest) -> tuple[Network, Any, list[str] | None]:
    """The network, its exported program (with static example inputs), and input names where the program's are not it.

    Call inside :func:`converters.user_code.user_imports`.
    """
    path, inputs, dataset = Path(request.path), request.inputs, opening.dataset_of(request)
    network = read(path, model_code=request.model_code, trust=request.trust)
    if network.exported is not None:
        _make_static(network, inputs, dataset, path)
        return network, network.exported, None
    names = example_inputs.parameter_names(network.run, network.scripted)
    if network.args is None or inputs:
        specs = example_inputs.specs_for(names, inputs, dataset, network.run, path)
        network.args = tuple(example_tensor(spec) for spec in specs)
    run_network(network, (network.args, network.kwargs), path)
    if network.scripted:
        return network, _export_torchscript(network, path), names
    return network, export_module(network, path), None


def example_tensor(spec: TensorSpec) -> Any:
    """Normal random numbers, or zeros of a whole-number dtype; open sizes are 1."""
    import torch

    dtype = getattr(torch, spec.dtype)
    shape = tuple(size or 1 for size in spec.shape)
    return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def _make_static(network: Network, inputs: tuple[str, ...], dataset: Dataset | None, path: Path) -> None:
    """Give a program's dynamic dimensions the sizes of ``--input`` or the data; a dynamic batch becomes 1."""
    import torch
    from torch.utils import _pytree

    exported = network.exported
    placeholders = {node.name: node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder"}
    names = list(exported.graph_signature.user_inputs)
    if network.args is None:
        raise UsageError(f"{path}: the program carries no example inputs.", hint="Export it again with torch.export.")
    leaves, spec = _pytree.tree_flatten((network.args, network.kwargs))
    wanted = {item.name: item.shape for item in map(parse, inputs)}
    for index, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        if not isinstance(leaf, torch.Tensor):
            continue
        dynamic = [place for place, size in enumerate(placeholders[name].shape) if not isinstance(size, int)]
        sizes = _sizes(leaf, dynamic, wanted.pop(name, wanted.pop("", None)), name, dataset, path)
        if sizes != tuple(leaf.shape):
            leaves[index] = example_tensor(TensorSpec(name, sizes, str(leaf.dtype).removeprefix("torch.")))
    if wanted:
        raise UsageError(f"--input {next(iter(wanted))}=…: the inputs of {path.name} are {', '.join(names)}.")
    network.args, network.kwargs = _pytree.tree_unflatten(leaves, spec)
    exported.example_inputs = (network.args, network.kwargs)


def _sizes(
    leaf: Any,
    dynamic: list[int],
    wanted: tuple[int | None, ...] | None,
    name: str,
    dataset: Dataset | None,
    path: Path,
) -> tuple[int, ...]:
    sizes = [int(size) for size in leaf.shape]
    if wanted is not None:
        fixed = [place for place in range(len(sizes)) if place not in dynamic]
        if len(wanted) != len(sizes) or any(wanted[place] != sizes[place] for place in fixed):
            shown = ",".join("?" if place in dynamic else str(size) for place, size in enumerate(sizes))
            raise UsageError(f"--input {name}={','.join(map(str, wanted))}: {path.name} was exported for [{shown}].")
        return tuple(size or 1 for size in wanted)
    found = None
    if dataset is not None and any(dynamic):
        shape = tuple(None if place in dynamic else size for place, size in enumerate(sizes))
        found = dataset.shape_for(TensorSpec(name, shape, str(leaf.dtype).removeprefix("torch.")), "nchw")
    for place in dynamic:
        if place == 0:
            sizes[0] = 1
        elif found is not None and len(found) == len(sizes):
            sizes[place] = found[place]
    return tuple(sizes)


def export_module(network: Network, path: Path) -> Any:
    """Export a network on its example inputs.

    Raises:
        ConversionError: torch.export cannot trace it.
    """
    import torch

    try:
        return torch.export.export(network.run, network.args, network.kwargs, strict=False)
    except Exception as first:  # whatever the tracer met in user code
        try:
            exported = torch.export.export(network.run, network.args, network.kwargs, strict=True)
        except Exception as second:
            raise _export_failed(path, first) from second
        network.notes.append("Exported in strict mode; the plain mode failed.")
        return exported


def _export_torchscript(network: Network, path: Path) -> Any:
    from torch._export.converter import TS2EPConverter  # the only way that keeps the graph; private

    try:
        exported = TS2EPConverter(network.run, network.args).convert()
    except Exception as error:  # as above
        raise _export_failed(path, error) from error
    refuse_training_mode(exported, path)
    exported.example_inputs = (network.args, {})
    return exported


def _export_failed(path: Path, error: Exception) -> ConversionError:
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [""]
    return ConversionError(
        f"{path}: torch.export cannot trace the model: {type(error).__name__}: {lines[0]}",
        hint="Data-dependent control flow is the usual cause: use torch.where or torch.cond. "
        + " ".join(line.strip() for line in lines[1:4]),
    )


def run_network(network: Network, inputs: Any, path: Path) -> Any:
    """Run the source itself.

    Raises:
        ConversionError: It does not take these inputs.
    """
    args, kwargs = inputs
    try:
        return network.run(*args, **kwargs)
    except Exception as error:
        shown = ", ".join(
            f"{str(leaf.dtype)[6:]}{list(leaf.shape)}" for leaf in programs.leaves(inputs) if hasattr(leaf, "dtype")
        )
        raise ConversionError(
            f"{path}: the model fails on inputs {shown}: {type(error).__name__}: {first_line(error)}",
            hint="Check the shapes and dtypes of --input or --data against what the model was trained with.",
        ) from error


def _embedding_rows(exported: Any, signature: Signature) -> dict[str, int]:
    """How many rows the embeddings have that integer inputs go straight into."""
    rows: dict[str, int] = {}
    placeholders = list(exported.graph_signature.user_inputs)
    for node in exported.graph.nodes:
        if str(node.target) == "aten.embedding.default" and node.args[1].name in placeholders:
            place = placeholders.index(node.args[1].name)
            if place < len(signature.inputs):
                rows[signature.inputs[place].name] = int(node.args[0].meta["val"].shape[0])
    return rows


def _runner(
    network: Network, exported: Any, signature: Signature, example_outputs: list[Any], path: Path
) -> opening.Run:
    """The source itself, as :func:`converters.opening.write_reference` runs it."""
    import torch

    kept = [index for index, value in enumerate(example_outputs) if isinstance(value, torch.Tensor)]
    names = [spec.name for spec in signature.outputs]

    def run(sample: dict[str, Array]) -> dict[str, Array]:
        outputs = programs.leaves(run_network(network, _arguments(exported.example_inputs, sample), path))
        return opening.as_arrays(names, [outputs[index].detach().cpu().numpy() for index in kept])

    return run


def _judge_data(exported: Any, signature: Signature, chosen: Feeds, request: LoadRequest) -> tuple[str, list[str]]:
    """What speaks against the data, where a user gave some: a suspicion, and notes on weaker evidence."""
    if request.data is None:
        return "", []
    into = Path(request.into)
    data = feeds_files.read(into / ("calibration" if request.calibration_samples else "feeds"))
    count = min(data.count, training_data.SAMPLES)
    some = data.take(np.linspace(0, data.count - 1, count).round().astype(np.intp))
    names = [spec.name for spec in signature.inputs]
    arguments = (_arguments(exported.example_inputs, sample) for sample in some.samples())
    found = training_data.suspicion(exported, arguments, names)
    outputs = list(feeds_files.read(into / "reference").arrays.values())
    doubt = training_data.untrained_scale_note(list(chosen.arrays.values()), outputs, chosen.labels)
    return found, [doubt] if doubt and not found else []


def _arguments(example: Any, sample: dict[str, Array]) -> Any:
    """One sample as arguments for the source's own calling convention."""
    import torch
    from torch.utils import _pytree

    leaves, spec = _pytree.tree_flatten(example)
    tensors = iter([torch.from_numpy(array.copy()) for array in sample.values()])
    filled = [next(tensors) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return _pytree.tree_unflatten(filled, spec)
