"""Names that tell the tensors of a TFLite file apart: calibration and quantization go by them.

A file may repeat a name or leave it empty; runtimes go by index. LiteRT's quantizer goes by name, and refuses such
files.
"""

from __future__ import annotations

from pathlib import Path

from converters.tflite._file import Model, numbers, serialized


def distinct(model: Model) -> list[list[str]]:
    """A name for each tensor, by subgraph and index: its own where that is the first of its kind in the file."""
    own = [[tensor.name for tensor in tensors] for tensors in model.tensors]
    taken = {name for names in own for name in names}
    seen: set[str] = set()
    found = []
    for subgraph, names in enumerate(own):
        apart = []
        for index, name in enumerate(names):
            if not name or name in seen:
                name = f"{name or 'tensor'}#{subgraph}.{index}"
                while name in taken:
                    name += "#"
                taken.add(name)
            seen.add(name)
            apart.append(name)
        found.append(apart)
    return found


def activations(model: Model) -> dict[int, str]:
    """Index to name of the float tensors of the entry subgraph that have no content before a run.

    Those of other subgraphs (bodies of loops and composites) cannot be read after a run; what computes on them stays
    float.
    """
    names, unread = distinct(model)[model.entry], unread_of_loops(model)
    return {
        tensor.index: names[tensor.index]
        for tensor in model.tensors[model.entry]
        if tensor.is_float and not tensor.stored_bytes and tensor.index not in unread
    }


def unread_of_loops(model: Model) -> set[int]:
    """What a loop has carried along and nobody reads behind it: the runtime does not keep it."""
    operators = model.subgraphs[model.entry]
    read = {tensor.index for item in operators for tensor in item.inputs if tensor}
    read |= set(numbers(model.raw.subgraphs[model.entry].outputs))
    made = {tensor.index for item in operators if item.kind == "WHILE" for tensor in item.outputs}
    return made - read


def renamed(path: Path, model: Model, changed: bool = False) -> str | bytes:
    """The file with :func:`distinct` names: its path where they are its own, else its content.

    Args:
        path: It was read from.
        model: Of it.
        changed: Whether ``model.raw`` is no longer what is in the file.
    """
    names = distinct(model)
    if not changed and names == [[tensor.name for tensor in tensors] for tensors in model.tensors]:
        return str(path)
    for graph, apart in zip(model.raw.subgraphs, names, strict=True):
        for tensor, name in zip(graph.tensors, apart, strict=True):
            tensor.name = name.encode()
    return serialized(model.raw, path.read_bytes())
