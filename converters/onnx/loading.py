"""Opening ONNX files: parsed, versions looked at, weights that are kept apart read from their own folder only.

A file may say that a tensor's bytes are in another file, by any name it likes. ``onnx.load`` and ONNX Runtime refuse
names that lead out of the folder as well; here it is done before either is called, and with one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.onnx.stored import AGAIN, broken_text, calls, shown, size_of, tensors
from edgekit.errors import ConversionError, UnsupportedError, first_line

LARGEST_MESSAGE = 2_000_000_000
"""Bytes that an ONNX file holds without other files: a protobuf message ends at 2 GiB, names and shapes included."""

_STANDARD = ("", "ai.onnx")
_MOST_NODES = 1_000_000
_DEEPEST_CALL = 100


@dataclass(frozen=True)
class Stretch:
    """Where the bytes of a tensor are.

    Attributes:
        file: In the folder of the model; it is there and long enough.
        location: As the model calls it.
        offset, size: In bytes.
    """

    file: Path
    location: str
    offset: int
    size: int


def parsed(path: Path) -> Any:
    """The ``ModelProto`` of a file; what is kept apart stays there, and is not looked at.

    Raises:
        ConversionError: It is truncated, damaged or too long.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size >= 1 << 31:
        raise ConversionError(
            f"{path}: {path.stat().st_size / 1e9:.1f} GB in one file, and no ONNX file is longer than 2 GB.",
            hint="Export it with its weights in a file beside it: onnx.save(model, path, save_as_external_data=True)",
        )
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{path}: the ONNX file is truncated or damaged ({error}).", hint=AGAIN) from error
    text = broken_text(proto)
    if text is not None:
        raise ConversionError(
            f"{path}: the ONNX file is truncated or damaged: the name {shown(repr(text), quoted=False)} is no UTF-8.",
            hint=AGAIN,
        )
    return proto


def check_versions(proto: Any, path: Path | str) -> None:
    """Refuse what is written in a later version of ONNX than the packages here read.

    Raises:
        UnsupportedError: Names the version, and the latest one that would do.
        ConversionError: The file says no version.
    """
    import onnx

    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{path}: its IR version is {proto.ir_version}, and onnx {onnx.__version__} knows {onnx.IR_VERSION}.",
            hint="Upgrade onnx and onnxruntime, or export the model with an older onnx.",
        )
    opset = max((item.version for item in proto.opset_import if item.domain in _STANDARD), default=0)
    known = onnx.defs.onnx_opset_version()
    if opset > known:
        raise UnsupportedError(
            f"{path}: it is in opset {opset}, and onnx {onnx.__version__} knows {known}.",
            hint=f"Upgrade onnx and onnxruntime, or export the model in opset {known} or older.",
        )
    if not proto.ir_version or not proto.opset_import:
        missing = "IR version" if not proto.ir_version else "opset"
        raise ConversionError(f"{path}: it does not say its {missing}, so its operators have no meaning.", hint=AGAIN)


def whole(path: Path | str) -> Any:
    """The ``ModelProto`` of a file with all its weights inside.

    Raises:
        ConversionError: It is damaged, or weights that belong to it are missing or outside of its folder.
        UnsupportedError: It is more than one message can be.
    """
    path = Path(path)
    proto = parsed(path)
    total = sum(stretch.size for stretch in kept_apart(proto, path).values())
    if total > LARGEST_MESSAGE:
        raise UnsupportedError(
            f"{path.name}: its weights are {total / 1e9:.1f} GB, and what rewrites ONNX files (quantization, layouts) "
            "works on one protobuf message, which ends at 2 GB.",
            hint="--to executorch takes it as it is. For ONNX cut it in parts, or quantize it in the framework.",
        )
    embed(proto, path)
    return proto


def inlined(proto: Any, path: Path | str) -> Any:
    """The model with its own functions written out where they are called.

    Raises:
        ConversionError: They call themselves, or what is not there.
    """
    import onnx
    from onnx import inliner

    if not proto.functions:
        return proto
    check_functions(proto, path)
    try:
        return inliner.inline_local_functions(proto)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:  # what the native module raises
        raise ConversionError(f"{path}: its functions cannot be written out: {first_line(error)}") from error


def check_functions(proto: Any, path: Path | str) -> None:
    """Refuse functions that call themselves, or each other so often that no machine could write them out.

    Raises:
        ConversionError: They do.
        UnsupportedError: They are more than a million nodes written out, or a hundred calls deep.
    """
    bodies = {(item.domain, item.name): list(calls(item.node)) for item in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    path_to: list[tuple[str, str]] = []

    def count(key: tuple[str, str]) -> int:
        if key in path_to:
            ring = " -> ".join(name for _, name in [*path_to[path_to.index(key) :], key])
            raise ConversionError(f"{path}: its functions call themselves: {shown(ring, quoted=False)}.", hint=AGAIN)
        if key not in sizes:
            if len(path_to) >= _DEEPEST_CALL:
                raise UnsupportedError(f"{path}: its functions call each other more than {_DEEPEST_CALL} deep.")
            path_to.append(key)
            sizes[key] = sum(count(called) if called in bodies else 1 for called in bodies[key])
            path_to.pop()
        return sizes[key]

    total = sum(count(called) if called in bodies else 1 for called in calls(proto.graph.node))
    for key in bodies:
        count(key)
    if total > _MOST_NODES:
        raise UnsupportedError(f"{path}: with its functions written out it has {total} nodes, more than {_MOST_NODES}.")


def embed(proto: Any, path: Path, keep: Mapping[str, Stretch] | None = None) -> None:
    """Read the bytes of tensors that are kept apart into a model, in place.

    Args:
        proto: ``ModelProto``.
        path: Of its file.
        keep: Initializers of the main graph that stay where they are, by name.

    Raises:
        ConversionError: As :func:`whole`.
    """
    import onnx

    of_the_main_graph = len(proto.graph.initializer)
    for at, tensor in enumerate(tensors(proto)):
        staying = at < of_the_main_graph and tensor.name in (keep or {})
        if tensor.data_location == onnx.TensorProto.EXTERNAL and not staying:
            stretch = _stretch(tensor, path)
            with stretch.file.open("rb") as file:
                file.seek(stretch.offset)
                tensor.raw_data = file.read(stretch.size)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def opened(path: Path | str) -> tuple[Any, dict[str, Stretch]]:
    """A model and the initializers of its main graph that stay on disk: for readers that need one after the other.

    Returns:
        ``ModelProto``, in which all other tensors have their bytes; and where those of the initializers are, by name.

    Raises:
        ConversionError: As :func:`whole`.
        UnsupportedError: As :func:`check_versions`.
    """
    path = Path(path)
    proto = parsed(path)
    check_versions(proto, path)
    check_functions(proto, path)
    apart = initializers_apart(proto, path)
    embed(proto, path, apart)
    return proto, apart


def initializers_apart(proto: Any, path: Path) -> dict[str, Stretch]:
    """Where the initializers of the main graph are that are kept apart, by name.

    Raises:
        ConversionError: As :func:`whole`.
    """
    import onnx

    items = (item for item in proto.graph.initializer if item.data_location == onnx.TensorProto.EXTERNAL)
    return {item.name: _stretch(item, path) for item in items}


def kept_apart(proto: Any, path: Path) -> dict[int, Stretch]:
    """Where all tensors of a model are that are kept apart, in the order of :func:`tensors`.

    Raises:
        ConversionError: As :func:`whole`.
    """
    import onnx

    places = enumerate(tensors(proto))
    return {at: _stretch(item, path) for at, item in places if item.data_location == onnx.TensorProto.EXTERNAL}


def write_apart(proto: Any, apart: Mapping[str, Stretch], into: Path) -> None:
    """Write a model of more than one message can be: as ``into``, with the initializers of ``apart`` beside it.

    Their bytes go from file to file, aligned to pages for readers that map them; memory holds a part at a time.
    """
    beside = into.with_name(into.name + ".data")
    with beside.open("wb") as file:
        for tensor in proto.graph.initializer:
            if tensor.name not in apart:
                continue
            file.write(bytes(-file.tell() % 4096))
            values = {"location": beside.name, "offset": file.tell(), "length": apart[tensor.name].size}
            _copy(apart[tensor.name], file)
            del tensor.external_data[:]
            for key, value in values.items():
                tensor.external_data.add(key=key, value=str(value))
    into.write_bytes(proto.SerializeToString())


def _copy(stretch: Stretch, target: Any) -> None:
    with stretch.file.open("rb") as source:
        source.seek(stretch.offset)
        left = stretch.size
        while left:
            part = source.read(min(left, 1 << 24))
            if not part:
                raise ConversionError(f"{stretch.file}: became shorter while it was read.")
            target.write(part)
            left -= len(part)


def mapped(stretch: Stretch) -> Any:
    """The bytes as a NumPy array of uint8, read from disk where they are looked at; writing does not reach the file."""
    import numpy as np

    if not stretch.size:
        return np.empty(0, np.uint8)
    return np.memmap(stretch.file, np.uint8, "c", stretch.offset, (stretch.size,))


def _stretch(tensor: Any, path: Path) -> Stretch:
    """Where the bytes of an external tensor are.

    Raises:
        ConversionError: Nowhere, or outside of the model's folder.
    """
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, name = entries.get("location", ""), shown(tensor.name)
    file, size = _inside(location, path, name), size_of(tensor, path)
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ConversionError(f"{path}: {name} is a tensor of strings, which cannot be kept in another file.")
    offset, length = _number(entries, "offset", 0, path, name), _number(entries, "length", size, path, name)
    if length != size:
        raise ConversionError(
            f"{path}: damaged: {name} should be {size} bytes, and its place in {shown(location)} has {length}.",
            hint=AGAIN,
        )
    found = file.stat().st_size if file.is_file() else -1
    if found < offset + size:
        state = "is missing" if found < 0 else f"has {found} bytes where {offset + size} are needed"
        raise ConversionError(
            f"{path}: the file with its weights, {shown(location, quoted=False)}, {state}.",
            hint=f"Put {shown(location, quoted=False)} beside it; the two belong together.",
        )
    return Stretch(file, location, offset, size)


def _number(entries: Mapping[str, str], key: str, default: int, path: Path, name: str) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # signs, spaces and words are none; 2**63 has 19
        raise ConversionError(
            f"{path}: damaged: the {key} of {name} in its file is {shown(text)}, no number of bytes.", hint=AGAIN
        )
    return int(text)


def _inside(location: str, path: Path, name: str) -> Path:
    """The file of that name in the folder of the model, links followed."""
    if not location or "\0" in location:
        raise ConversionError(f"{path}: damaged: {name} is in another file, whose name is missing.", hint=AGAIN)
    folder = path.parent.resolve()
    try:
        place = (folder / location).resolve()
        outside = folder not in place.parents
        linked = not outside and place.is_file() and place.stat().st_nlink > 1
    except (OSError, RuntimeError) as error:  # names that are too long, links that lead to themselves
        raise ConversionError(f"{path}: no file can be called {shown(location)} ({error}).", hint=AGAIN) from error
    if outside:
        raise ConversionError(
            f"{path}: its weights point outside its folder, to {shown(location, quoted=False)}, and are not read.",
            hint="Where that is meant so, copy model and weights into one folder: cp -L follows links.",
        )
    if linked:
        raise ConversionError(
            f"{path}: the file with its weights, {location}, has other names as well (hard links), which may be "
            "outside its folder: onnx does not read such files.",
            hint=f"Make it a file of its own: cp {location} copy && mv copy {location}",
        )
    return place


def listed(places: Mapping[str, list[str]]) -> str:
    """Operators with how often and where they are: ``2 of Foo (opset ai.onnx 17) at f1, f2``.

    Args:
        places: Names of nodes by operator.
    """
    shown = []
    for what, names in sorted(places.items()):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        count = f"{len(names)} of " if len(names) > 1 else ""
        shown.append(f"{count}{what} at {', '.join(names[:5])}{more}")
    return "; ".join(shown)
