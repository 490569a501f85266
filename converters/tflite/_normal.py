"""A TFLite file as this package's own steps take it: one signature, one entry, codes in the new field, fixed sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from converters.tflite._file import numbers, text
from edgekit.errors import UsageError

SERVING = "serving_default"
_SUBGRAPH_FIELDS = (
    "thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex", "initSubgraphIndex",
    "decompositionSubgraphIndex", "comparatorSubgraphIndex", "updateComputationSubgraphIndex", "subgraph",
)  # fmt: skip
_SUBGRAPH_LISTS = ("branchSubgraphIndices",)


def correct_codes(raw: Any) -> None:
    """Write operator codes into the field that has held them since 2020.

    Older files have them in the one-byte field alone; LiteRT's quantizer reads the new one, where they are zeros, and
    takes every operator for an addition.
    """
    old_field_limit = 127  # its last value, which sends readers to the new field
    for code in raw.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, old_field_limit)


def signature_keys(raw: Any) -> list[str]:
    """Names of the file's signatures."""
    return [text(item.signatureKey) for item in raw.signatureDefs or ()]


def chosen_key(raw: Any, asked: str | None, path: str) -> str | None:
    """The signature to take; ``None`` for a file without one.

    Raises:
        UsageError: There is no such signature, or several and none of them is the usual one.
    """
    keys = signature_keys(raw)
    if asked is not None and asked not in keys:
        raise UsageError(
            f"--signature {asked}: {path} has "
            + (f"the signatures {', '.join(keys)}." if keys else "no signatures; it has one way to be run."),
            hint=f"--signature {keys[0]}" if keys else "Leave --signature out.",
        )
    if asked is not None or not keys:
        return asked
    if len(keys) > 1 and SERVING not in keys:
        raise UsageError(
            f"{path} has {len(keys)} signatures ({', '.join(keys)}), and each is a model of its own.",
            hint=f"--signature {keys[0]}",
        )
    return SERVING if SERVING in keys else keys[0]


def keep_signature(raw: Any, key: str) -> None:
    """Drop all signatures but one, and the subgraphs that only the others need; its own becomes the first."""
    (definition,) = (item for item in raw.signatureDefs if text(item.signatureKey) == key)
    raw.signatureDefs = [definition]
    kept = _reachable(raw, definition.subgraphIndex)
    places = {index: place for place, index in enumerate(kept)}
    raw.subgraphs = [raw.subgraphs[index] for index in kept]
    for graph in raw.subgraphs:
        for options in _options(graph):
            for name in _SUBGRAPH_FIELDS:
                if hasattr(options, name) and getattr(options, name) in places:
                    setattr(options, name, places[getattr(options, name)])
            for name in _SUBGRAPH_LISTS:
                if hasattr(options, name):
                    setattr(options, name, [places[index] for index in numbers(getattr(options, name))])
    definition.subgraphIndex = 0
    _empty_unused(raw)


def _reachable(raw: Any, entry: int) -> list[int]:
    found = [entry]
    for index in found:  # grows as it goes
        for options in _options(raw.subgraphs[index]):
            called = [getattr(options, name) for name in _SUBGRAPH_FIELDS if hasattr(options, name)]
            for name in _SUBGRAPH_LISTS:
                called += numbers(getattr(options, name, ()))
            found += [other for other in dict.fromkeys(called) if other >= 0 and other not in found]
    return found


def _options(graph: Any) -> Iterable[Any]:
    for operator in graph.operators or ():
        yield from (item for item in (operator.builtinOptions, operator.builtinOptions2) if item is not None)


def _empty_unused(raw: Any) -> None:
    """Take the content out of buffers that nothing names any more."""
    used = {tensor.buffer for graph in raw.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in raw.metadata or ()}
    for index, buffer in enumerate(raw.buffers):
        if index not in used:
            buffer.data, buffer.offset, buffer.size = None, 0, 0


def add_signature(raw: Any) -> list[str]:
    """Give a file without signatures one, with the names of its input and output tensors.

    Returns:
        Notes on tensors that had to be called otherwise.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = raw.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SERVING.encode(), 0
    taken: set[str] = set()
    notes: list[str] = []

    def named(tensors: Sequence[int], word: str) -> list[Any]:
        maps = []
        for place, index in enumerate(tensors):
            own = text(graph.tensors[index].name)
            name = own or f"{word}_{place}"
            while name in taken:
                name = f"{name}_{word}"
            taken.add(name)
            if name != own:
                notes.append(f"{word.capitalize()} {place} is called {name!r}: its tensor has {_state(own)}.")
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), index
            maps.append(entry)
        return maps

    signature.inputs = named(numbers(graph.inputs), "input")
    signature.outputs = named(numbers(graph.outputs), "output")
    raw.signatureDefs = [signature]
    return notes


def _state(name: str) -> str:
    return f"the name {name!r}, which another has too" if name else "no name"


def fix_sizes(raw: Any, sizes: Mapping[int, Sequence[int]]) -> None:
    """Write sizes into the tensors of the entry, in place of open ones.

    Args:
        raw: ``ModelT``.
        sizes: Of each tensor, by index.
    """
    for index, tensor in enumerate(raw.subgraphs[0].tensors):
        if index in sizes:
            tensor.shape = [int(size) for size in sizes[index]]
            tensor.shapeSignature = None


def is_open(raw: Any) -> bool:
    """Whether a tensor of the entry has a size that is only known at run time."""
    return any(size < 0 for tensor in raw.subgraphs[0].tensors for size in numbers(tensor.shapeSignature))
