"""A TFLite file as a source: read, put in order, and run in LiteRT for reference."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters import arrived, opening
from converters.facts import unchecked_reading
from converters.shapes import settle
from converters.tflite import _file, _normal
from converters.tflite._file import Model, text
from converters.tflite.inspect import inspect, signature_of
from edgekit import registry
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.feeds import Array
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, TensorSpec

_PROGRAM = "program.tflite"
_NUMBERS = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
_WITH_KERNEL = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"})
"""Custom operators that LiteRT registers itself (ai-edge-litert 2.3)."""


@dataclass
class Source:
    """A file in order.

    Attributes:
        content: The file as it came.
        key: The signature taken, ``None`` in a file that has none.
        raw: ``ModelT`` of the copy in order.
        signature: With the user's names; open sizes as the file has them.
        notes: What a user should know.
    """

    content: bytes
    key: str | None
    raw: Any
    signature: Signature
    notes: list[str]

    def program(self) -> bytes:
        """The copy as a file."""
        return _file.serialized(self.raw, self.content)


def arrives(path: str) -> str:
    """The scheme that a file is in: the job behind ``Source.arrives``."""
    return arrived.scheme_of(inspect(path))


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.tflite.load`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    path, facts = Path(request.path), inspect(request.path)
    source = open_source(path, request.signature)
    inputs = settle(source.signature.inputs, request)
    signature = Signature(inputs, source.signature.outputs)
    chosen = opening.write_feeds(request, signature, _rows(source))
    run = Runner(source.content, source.key, signature, path)
    first = next(chosen.samples())
    signature = _settled(source, signature, first, run(first), path)
    opening.write_reference(request, signature, chosen, run)
    if request.program:
        Path(request.into, _PROGRAM).write_bytes(source.program())
    return opening.loaded(
        request,
        kind=facts["kind"],
        signature=signature,
        program=_PROGRAM,
        fingerprint=opening.fingerprint(path, str(source.key), repr(signature.inputs)),
        quantized=arrived.is_quantized(arrived.scheme_of(facts)),
        notes=[*source.notes, *arrived.notes(facts)],
    )


def open_source(path: Path, wanted: str | None) -> Source:
    """Read a file and put it in order.

    Args:
        path: The file.
        wanted: ``--signature``.

    Raises:
        ConversionError: It is truncated or damaged.
        UnsupportedError: It needs operators that LiteRT does not have, or tensors that hold no numbers.
        UsageError: It has no such signature.
    """
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        model = _file.read(path)
    _check_operators(model, path)
    content, raw = path.read_bytes(), model.raw
    key = _normal.chosen_key(raw, wanted, str(path))
    notes = _packed_files(path)
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        _normal.correct_codes(raw)
        if key is None:
            notes += _normal.add_signature(raw)
        else:
            others = [name for name in _normal.signature_keys(raw) if name != key]
            _normal.keep_signature(raw, key)
            if others:
                notes.append(f"Of its signatures {key!r} was taken; --signature takes another: {', '.join(others)}.")
        signature = signature_of(_file.indexed(raw, len(content)))
    _check_tensors(signature, path)
    return Source(content, key, raw, signature, notes)


def _check_operators(model: Model, path: Path) -> None:
    kinds = dict.fromkeys(item.kind for graph in model.subgraphs for item in graph)
    custom = [kind.removeprefix("custom:") for kind in kinds if kind.startswith("custom:")]
    missing = [name for name in custom if name not in _WITH_KERNEL]
    if not missing:
        return
    flex = all(name.startswith("Flex") for name in missing)
    raise UnsupportedError(
        f"{path}: it holds operators that LiteRT has no kernels for: {', '.join(missing)}.",
        hint="Flex operators are TensorFlow's own: convert the TensorFlow model that it was made from."
        if flex
        else "Convert the model that it was made from, with these written in operators that TFLite has.",
    )


def _check_tensors(signature: Signature, path: Path) -> None:
    odd = [spec for spec in (*signature.inputs, *signature.outputs) if spec.dtype not in _NUMBERS]
    if odd:
        raise UnsupportedError(
            f"{path}: inputs and outputs must be tensors of numbers, and these are not: {', '.join(map(str, odd))}.",
            hint="Cut the model where its tensors are numbers, before it is converted to TFLite.",
        )


def _packed_files(path: Path) -> list[str]:
    """A note on files that TFLite's metadata tools have appended as a zip archive: labels, vocabularies."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return []
    return [f"Files packed into it are not in the result: {', '.join(names)}."] if names else []


class Runner:
    """The file as it came, in LiteRT, with floats for the integers of inputs and outputs that have a scale.

    Args:
        content: Of the file.
        key: A signature; ``None`` runs the file by the order of its tensors.
        signature: Names and parameters, in that order.
        path: For messages.

    Raises:
        ConversionError: LiteRT cannot load it.
    """

    def __init__(self, content: bytes, key: str | None, signature: Signature, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path, self.signature = path, signature
        try:
            self.interpreter = Interpreter(model_content=content, num_threads=1)
            self.runner = None if key is None else self.interpreter.get_signature_runner(key)
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"{path}: LiteRT cannot load it: {first_line(error)}") from error
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ConversionError: LiteRT cannot run it on this sample.
        """
        values = {spec.name: _as_taken(spec, sample[spec.name]) for spec in self.signature.inputs}
        try:
            found = self._plain(values) if self.runner is None else self.runner(**values)
        except (ValueError, RuntimeError) as error:
            shown = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in values.items())
            raise ConversionError(f"{self.path}: LiteRT cannot run it on {shown}: {first_line(error)}") from error
        return {spec.name: _as_given(spec, np.asarray(found[spec.name])) for spec in self.signature.outputs}

    def _plain(self, values: Mapping[str, Array]) -> dict[str, Any]:
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        shapes = {name: array.shape for name, array in values.items()}
        if shapes != self.shapes:
            for item, array in zip(inputs, values.values(), strict=True):
                self.interpreter.resize_tensor_input(item["index"], array.shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for item, array in zip(inputs, values.values(), strict=True):
            self.interpreter.set_tensor(item["index"], array)
        self.interpreter.invoke()
        names = [spec.name for spec in self.signature.outputs]
        return {name: self.interpreter.get_tensor(item["index"]) for name, item in zip(names, outputs, strict=True)}


def _as_taken(spec: TensorSpec, array: Array) -> Array:
    """A sample as the input takes it; floats are quantized exactly as the agent quantizes them for converted files."""
    if spec.scale is None or array.dtype.kind != "f":
        return np.ascontiguousarray(array, spec.dtype)
    return np.ascontiguousarray(registry.function("profiles.agent.binding:quantized")(_tensor(spec), array))


def _as_given(spec: TensorSpec, array: Array) -> Array:
    found: Array = registry.function("profiles.agent.binding:dequantized")(_tensor(spec), array)
    return found


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype, "scale": spec.scale, "zero_point": spec.zero_point}


def _settled(
    source: Source, signature: Signature, sample: Mapping[str, Array], expected: Mapping[str, Array], path: Path
) -> Signature:
    """Fix the sizes of a file in order that are open or that ``--input`` changes, where it then computes the same.

    Args:
        source: Its ``raw`` is changed, or left as it is where the fixed copy computes anything else.
        signature: Its inputs have sizes.
        sample: An input of that size.
        expected: What the file as it came makes of it.
        path: For messages.

    Returns:
        The signature, with the sizes that the outputs had on the sample.
    """
    outputs = tuple(
        TensorSpec(spec.name, expected[spec.name].shape, spec.dtype, spec.scale, spec.zero_point)
        for spec in signature.outputs
    )
    sized = Signature(signature.inputs, outputs)
    before = source.raw.subgraphs[0]
    taken = [tuple(spec.shape) for spec in source.signature.inputs]
    if not _normal.is_open(source.raw) and taken == [spec.shape for spec in signature.inputs]:
        return sized
    sizes = _sizes(source, sample, signature, path)
    kept = [(tensor.shape, tensor.shapeSignature) for tensor in before.tensors]
    _normal.fix_sizes(source.raw, sizes)
    again = Runner(source.program(), _normal.signature_keys(source.raw)[0], sized, path)(sample)
    if all(
        np.array_equal(again[name], values, equal_nan=values.dtype.kind == "f") for name, values in expected.items()
    ):
        opened = [spec.name for spec in source.signature.inputs if None in spec.shape]
        if opened:
            shown = ", ".join(str(spec) for spec in signature.inputs if spec.name in opened)
            source.notes.append(f"Sizes that the file leaves open are fixed: {shown}.")
        return sized
    for tensor, (shape, open_shape) in zip(before.tensors, kept, strict=True):
        tensor.shape, tensor.shapeSignature = shape, open_shape
    return sized


def _sizes(source: Source, sample: Mapping[str, Array], signature: Signature, path: Path) -> dict[int, tuple[int, ...]]:
    """The sizes that the entry's tensors have in a run, by index; without a delegate all of them are there."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    taken = {_inputs(source.raw)[spec.name]: _as_taken(spec, sample[spec.name]) for spec in signature.inputs}
    try:
        interpreter = Interpreter(
            model_content=source.program(),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        for index, array in taken.items():
            interpreter.resize_tensor_input(index, array.shape)
        interpreter.allocate_tensors()
        for index, array in taken.items():
            interpreter.set_tensor(index, array)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"{path}: LiteRT cannot run it: {first_line(error)}") from error
    return {item["index"]: tuple(map(int, item["shape"])) for item in interpreter.get_tensor_details()}


def _inputs(raw: Any) -> dict[str, int]:
    """Name to tensor of the inputs of a file in order."""
    return {text(entry.name): entry.tensorIndex for entry in raw.signatureDefs[0].inputs}


def _rows(source: Source) -> dict[str, int]:
    """How many rows the tables have that whole numbers of an input go straight into."""
    model = _file.indexed(source.raw, len(source.content))
    names = {index: name for name, index in _inputs(source.raw).items()}
    rows: dict[str, int] = {}
    for item in model.subgraphs[0]:
        if item.kind not in ("GATHER", "EMBEDDING_LOOKUP"):
            continue
        ids, table = item.inputs[::-1] if item.kind == "GATHER" else item.inputs[:2]
        if ids is not None and table is not None and ids.index in names and table.stored_bytes:
            rows[names[ids.index]] = table.shape[0]
    return rows
