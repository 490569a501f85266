"""What of a TensorFlow model is to be converted: one signature of a SavedModel, or a part of a frozen graph.

Files are parsed here and nothing of them runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.saved_model import graphs, kinds
from converters.saved_model.graphs import Endpoint
from edgekit.errors import ConversionError, UnsupportedError, UsageError, first_line
from edgekit.requests import LoadRequest

DEFAULT = "serving_default"
_INTERNAL = ("__saved_model_init_op", "__saved_model_train_op")
_SERVE, _TRAIN = "serve", "train"


@dataclass(frozen=True)
class Restore:
    """How a SavedModel gets its weights.

    Attributes:
        operator: Name of the operator that reads them.
        file: Name of the tensor that takes the path.
        path: What all files of the weights begin with.
    """

    operator: str
    file: str
    path: Path


@dataclass(frozen=True)
class Entry:
    """A graph with ends.

    Attributes:
        path: The user's file or folder.
        kind: What it is, in words.
        graph: ``GraphDef``, all of it.
        inputs, outputs: In order.
        restore: ``None`` for graphs that hold their weights.
        producer: ``OpList``: the operators as the TensorFlow that wrote it had them; ``None`` where it does not say.
        version: Of that TensorFlow; empty where it does not say.
        signature: Name of the one chosen; empty for frozen graphs.
        signatures: Name to inputs and outputs in words, of all there are.
        notes: What a user should know, a sentence each.
    """

    path: Path
    kind: str
    graph: Any
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]
    restore: Restore | None = None
    producer: Any = None
    version: str = ""
    signature: str = ""
    signatures: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def of_saved_model(request: LoadRequest) -> Entry:
    """The chosen signature of a SavedModel.

    Raises:
        UsageError: There is no such signature or output, or several to choose from.
        UnsupportedError: It has no signature, or one with strings or sparse tensors.
        ConversionError: The file is damaged.
    """
    folder = Path(request.path)
    meta = _meta_graph(_parse_folder(folder), folder)
    found = {name: item for name, item in sorted(meta.signature_def.items()) if name not in _INTERNAL}
    listed = {name: _in_words(item) for name, item in found.items()}
    name = _choose(listed, request)
    chosen = found[name]
    _refuse_containers(chosen, name, listed, request.path)
    inputs = _in_order([_endpoint(key, item) for key, item in chosen.inputs.items()], meta.graph_def)
    outputs = sorted((_endpoint(key, item) for key, item in chosen.outputs.items()), key=_natural)
    outputs = _asked_for(outputs, request)
    _refuse_strings((*inputs, *outputs), name, listed, request.path)
    saver = meta.saver_def
    return Entry(
        path=folder,
        kind=_kind(folder, meta),
        graph=meta.graph_def,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        restore=Restore(saver.restore_op_name, saver.filename_tensor_name, folder / "variables" / "variables")
        if saver.restore_op_name
        else None,
        producer=meta.meta_info_def.stripped_op_list,
        version=str(meta.meta_info_def.tensorflow_version),
        signature=name,
        signatures=listed,
        notes=_notes(name, listed, request),
    )


def parse(message: Any, content: bytes, path: Path) -> Any:
    """Fill a protobuf message.

    Raises:
        ConversionError: The bytes are none.
    """
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ConversionError(
            f"{path}: the file is truncated or damaged ({first_line(error)}).",
            hint="Copy or download it again, and compare its size with the original's.",
        ) from error
    return message


def _parse_folder(folder: Path) -> Any:
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file, text = folder / kinds.FILE, folder / kinds.TEXT_FILE
    if not file.is_file():
        try:
            return text_format.Parse(text.read_text(encoding="utf-8", errors="replace"), SavedModel())
        except text_format.ParseError as error:
            raise ConversionError(f"{text}: the file is damaged: {first_line(error)}") from error
    content = file.read_bytes()
    if content.startswith(kinds.GIT_LFS):
        raise UnsupportedError(f"{file}: a Git LFS pointer, not the model itself.", hint="git lfs pull")
    return parse(SavedModel(), content, file)


def _meta_graph(saved: Any, folder: Path) -> Any:
    """The graph for serving, among those for training and other devices."""
    found = list(saved.meta_graphs)
    if not found:
        raise ConversionError(f"{folder}: {kinds.FILE} holds no graph.", hint="Copy or download the folder again.")
    for tags in ({_SERVE}, set[str]()):
        for item in found:
            if set(item.meta_info_def.tags) == tags:
                return item
    usable = [item for item in found if _TRAIN not in item.meta_info_def.tags] or found
    if len(usable) > 1:
        shown = "; ".join(", ".join(item.meta_info_def.tags) for item in found)
        raise UnsupportedError(
            f"{folder}: several graphs and none of them plainly for serving (their tags: {shown}).",
            hint="Save the model again with the tag 'serve'.",
        )
    return usable[0]


def _kind(folder: Path, meta: Any) -> str:
    made = f", TensorFlow {meta.meta_info_def.tensorflow_version}" if meta.meta_info_def.tensorflow_version else ""
    keras = " of a Keras model" if (folder / "keras_metadata.pb").exists() else ""
    return f"{kinds.Kind.FOLDER}{keras}{made}"


def _choose(listed: dict[str, str], request: LoadRequest) -> str:
    shown = "; ".join(f"{name}: {words}" for name, words in listed.items())
    if not listed:
        raise UnsupportedError(
            f"{request.path}: the SavedModel has no signature, so nothing says what its inputs are.",
            hint="Save it again: tf.saved_model.save(model, folder, signatures=function.get_concrete_function(...))",
        )
    if request.signature is not None:
        if request.signature not in listed:
            raise UsageError(
                f"--signature {request.signature}: {request.path} has {shown}.",
                hint=f"--signature {next(iter(listed))}",
            )
        return request.signature
    if DEFAULT in listed:
        return DEFAULT
    if len(listed) > 1:
        raise UsageError(
            f"{request.path}: several signatures, and none is called {DEFAULT}: {shown}.",
            hint=f"--signature {next(iter(listed))}",
        )
    return next(iter(listed))


def _in_words(signature: Any) -> str:
    taken, made = (
        ", ".join(str(_endpoint(key, item)) for key, item in sorted(ends.items())) or "nothing"
        for ends in (signature.inputs, signature.outputs)
    )
    return f"{taken} -> {made}"


def _endpoint(name: str, info: Any) -> Endpoint:
    return Endpoint(name, str(info.name), graphs.dtype_name(info.dtype), graphs.sizes(info.tensor_shape))


def _natural(item: Endpoint) -> list[str | int]:
    """``output_2`` before ``output_10``."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", item.name))]


def _in_order(found: list[Endpoint], graph: Any) -> list[Endpoint]:
    """Inputs in the order in which the model's own function takes them; sorted where no single one takes them all.

    A signature has no order: TensorFlow wraps the function in another one, whose arguments are sorted by name, and
    which calls it with its arguments in place.
    """
    ordered = sorted(found, key=_natural)
    names = [graphs.split(item.tensor)[0] for item in ordered]
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = list(graph.node)
    places = _places(names, nodes)
    while places is not None:
        node, order = places
        ordered, names = [ordered[place] for place in order], [names[place] for place in order]
        function = functions.get(node.attr["f"].func.name)
        if function is None:
            break
        arguments = [argument.name for argument in function.signature.input_arg]
        given = [graphs.split(item)[0] for item in node.input]
        names = [arguments[given.index(name)] for name in names]
        places = _places(names, list(function.node_def))
    return ordered


def _places(names: list[str], nodes: list[Any]) -> tuple[Any, list[int]] | None:
    """The one call that takes all of these tensors, and their order in it."""
    users = [node for node in nodes if any(graphs.split(item)[0] in names for item in node.input if item[0] != "^")]
    if len(users) != 1 or users[0].op not in ("PartitionedCall", "StatefulPartitionedCall"):
        return None
    given = [graphs.split(item)[0] for item in users[0].input]
    if any(given.count(name) != 1 for name in names):
        return None
    return users[0], sorted(range(len(names)), key=lambda place: given.index(names[place]))


def _asked_for(outputs: list[Endpoint], request: LoadRequest) -> list[Endpoint]:
    by_name = {item.name: item for item in outputs}
    missing = [name for name in request.outputs if name not in by_name]
    if missing:
        raise UsageError(
            f"--output-name {missing[0]}: the outputs of {request.path} are {', '.join(map(str, outputs))}.",
            hint=" ".join(f"--output-name {name}" for name in by_name),
        )
    return [by_name[name] for name in dict.fromkeys(request.outputs)] or outputs


def _refuse_containers(signature: Any, name: str, listed: dict[str, str], path: str) -> None:
    ends = {**dict(signature.inputs), **dict(signature.outputs)}
    found = [key for key, item in sorted(ends.items()) if item.WhichOneof("encoding") not in ("name", None)]
    if found:
        raise UnsupportedError(
            f"{path}: {', '.join(found)} of signature {name!r} are sparse or ragged, which edge runtimes have not.",
            hint=_others(name, listed) or "Save the model with plain tensors as inputs and outputs.",
        )
    if not signature.outputs:
        raise UnsupportedError(f"{path}: signature {name!r} returns nothing.", hint=_others(name, listed))


def _refuse_strings(ends: tuple[Endpoint, ...], name: str, listed: dict[str, str], path: str) -> None:
    found = [item for item in ends if not graphs.is_plain(item.dtype)]
    if found:
        raise UnsupportedError(
            f"{path}: signature {name!r} has {', '.join(map(str, found))}; edge runtimes take numbers.",
            hint=_others(name, listed)
            or "Save the model with numbers as inputs and outputs: images already decoded, say.",
        )


def _others(name: str, listed: dict[str, str]) -> str:
    others = [f"--signature {other}   ({words})" for other, words in listed.items() if other != name]
    return "  or  ".join(others[:3])


def _notes(name: str, listed: dict[str, str], request: LoadRequest) -> tuple[str, ...]:
    """Which others there are; Keras writes each of its own twice, under two names."""
    others = [other for other, words in listed.items() if words != listed[name]]
    if request.signature is not None or not others:
        return ()
    return (f"Signature {name!r} was taken; --signature chooses another ({', '.join(others)}).",)
