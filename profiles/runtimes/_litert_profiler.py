"""LiteRT's profiler, which its Python interface does not offer, through the C interface of the same wheel.

``libLiteRt.so`` of ai-edge-litert 2.1 and later exports it. Nothing of it is promised, so the structures below are
checked before their content is believed, and whoever calls this does so in a process that may crash. Nothing is freed:
the process ends after it.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from profiles.runtimes._events import ProfilerUnavailableError

if TYPE_CHECKING:
    from profiles.runtimes import Array

BUILTIN, DELEGATED = 2, 8
"""Types of events (TFLite's ``Profiler::EventType``): an operator of TFLite's own kernels, and one in a delegate."""

_EVENT_TYPES = frozenset(1 << bit for bit in range(9))
_SOURCES = range(3)
_MAX_RANK = 8
_CPU = 1
_WRITE = 1

_Index = ctypes.c_size_t
_Out = ctypes.c_void_p  # of whatever type the function fills in
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Handle(ctypes.c_void_p):
    """Something of LiteRT's."""


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "LiteRtAddOpaqueOptions": (_Handle, _Handle),
    "LiteRtCompiledModelGetProfiler": (_Handle, _Out),
    "LiteRtCompiledModelResizeInputTensor": (_Handle, _Index, _Index, _Out, _Index),
    "LiteRtCreateCompiledModel": (_Handle, _Handle, _Handle, _Out),
    "LiteRtCreateEnvironment": (ctypes.c_int, _Handle, _Out),
    "LiteRtCreateManagedTensorBufferFromRequirements": (_Handle, _Out, _Handle, _Out),
    "LiteRtCreateModelFromFile": (_Handle, ctypes.c_char_p, _Out),
    "LiteRtCreateOpaqueOptions": (ctypes.c_char_p, _Handle, _Deleter, _Out),
    "LiteRtCreateOptions": (_Out,),
    "LiteRtGetCompiledModelInputBufferRequirements": (_Handle, _Index, _Index, _Out),
    "LiteRtGetCompiledModelOutputBufferRequirements": (_Handle, _Index, _Index, _Out),
    "LiteRtGetCompiledModelOutputTensorLayouts": (_Handle, _Index, _Index, _Out, ctypes.c_bool),
    "LiteRtGetModelSignature": (_Handle, _Index, _Out),
    "LiteRtGetNumModelSignatures": (_Handle, _Out),
    "LiteRtGetNumProfilerEvents": (_Handle, _Out),
    "LiteRtGetNumSignatureInputs": (_Handle, _Out),
    "LiteRtGetNumSignatureOutputs": (_Handle, _Out),
    "LiteRtGetProfilerEvents": (_Handle, ctypes.c_int, _Out),
    "LiteRtGetRankedTensorType": (_Handle, _Out),
    "LiteRtGetSignatureInputName": (_Handle, _Index, _Out),
    "LiteRtGetSignatureInputTensorByIndex": (_Handle, _Index, _Out),
    "LiteRtGetSignatureKey": (_Handle, _Out),
    "LiteRtGetSignatureOutputTensorByIndex": (_Handle, _Index, _Out),
    "LiteRtGetTensorBufferPackedSize": (_Handle, _Out),
    "LiteRtLockTensorBuffer": (_Handle, _Out, ctypes.c_int),
    "LiteRtResetProfiler": (_Handle,),
    "LiteRtRunCompiledModel": (_Handle, _Index, _Index, _Out, _Index, _Out),
    "LiteRtSetOptionsHardwareAccelerators": (_Handle, ctypes.c_int),
    "LiteRtStartProfiler": (_Handle,),
    "LiteRtStopProfiler": (_Handle,),
    "LiteRtUnlockTensorBuffer": (_Handle,),
}
"""What is called, with the types of its arguments; each returns a status, 0 when all is well."""


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint8),  # its highest bit says whether there are strides
        ("sizes", ctypes.c_int32 * _MAX_RANK),
        ("strides", ctypes.c_uint32 * _MAX_RANK),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_void_p),  # a string, once the rest has been found sane
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("node", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class Recorded(NamedTuple):
    """One event of one run.

    Attributes:
        type: ``BUILTIN`` or ``DELEGATED``.
        tag: The operator: TFLite's name of it, or that of the delegate's kernel.
        start_us: On a clock that starts anywhere; 0 for delegated ones.
        elapsed_us: Whole microseconds, rounded down.
        node: Its index in the subgraph, or within the part of the graph that one delegate call runs.
        subgraph: Index of the subgraph, for builtin ones.
    """

    type: int
    tag: str
    start_us: int
    elapsed_us: int
    node: int
    subgraph: int


class Profiled:
    """A file that runs under the profiler.

    Args:
        path: The file.
        threads: That XNNPACK may use.
        signature: Key of the signature to run; ``None`` for a file without.
        shapes: Shape of each input, in the order of the file, by name.

    Raises:
        ProfilerUnavailableError: This version of LiteRT cannot do it.
    """

    def __init__(self, path: str, threads: int, signature: str | None, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.library = _library()
        self.kept: list[Any] = []  # what the library still points to
        environment = self._make("LiteRtCreateEnvironment", 0, None)
        model = self._make("LiteRtCreateModelFromFile", environment, path.encode())
        self.compiled = self._compile(environment, model, threads)
        self.index, found = self._signature(model, signature)
        self.places = self._places(found, list(shapes))
        resized = self._resize(found, shapes)
        self.inputs = self._buffers(environment, found, "Input", shapes=[shapes[name] for name in self.places])
        outputs = self._count("LiteRtGetNumSignatureOutputs", found)
        layouts = self._output_layouts(outputs) if resized else None
        self.outputs = self._buffers(environment, found, "Output", layouts=layouts)
        self.profiler = self._make("LiteRtCompiledModelGetProfiler", self.compiled)

    def run(self, feed: Mapping[str, Array], recorded: bool) -> tuple[int, list[Recorded]]:
        """One inference: nanoseconds from its call to its return, without filling the inputs, and its events."""
        for place, name in enumerate(self.places):
            self._write(self.inputs[place], feed[name])
        if recorded:
            self._call("LiteRtResetProfiler", self.profiler)
            self._call("LiteRtStartProfiler", self.profiler)
        run = self.library.LiteRtRunCompiledModel
        inputs, outputs = ctypes.addressof(self.inputs), ctypes.addressof(self.outputs)
        before = perf_counter_ns()
        status = run(self.compiled, self.index, len(self.inputs), inputs, len(self.outputs), outputs)
        taken = perf_counter_ns() - before
        _check("LiteRtRunCompiledModel", status)
        if not recorded:
            return taken, []
        self._call("LiteRtStopProfiler", self.profiler)
        return taken, self._events()

    def _events(self) -> list[Recorded]:
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.addressof(count))
        events = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self.profiler, count, ctypes.addressof(events))
        return [
            Recorded(
                event.type,
                ctypes.string_at(event.tag).decode(errors="replace"),
                event.start_us,
                event.elapsed_us,
                event.node,
                event.subgraph,
            )
            for event in _sane(events)
            if event.type in (BUILTIN, DELEGATED)
        ]

    def _compile(self, environment: _Handle, model: _Handle, threads: int) -> _Handle:
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        for name, toml in (
            ("runtime_options_string", "enable_profiling = true\n"),
            ("xnnpack", f"num_threads = {threads}\n"),
        ):
            text, deleter = ctypes.create_string_buffer(toml.encode()), _Deleter(lambda _: None)
            self.kept += [text, deleter]
            address = ctypes.addressof(text)
            opaque = self._make("LiteRtCreateOpaqueOptions", name.encode(), address, deleter)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        return self._make("LiteRtCreateCompiledModel", environment, model, options)

    def _signature(self, model: _Handle, key: str | None) -> tuple[int, _Handle]:
        """Index and handle of the signature of that name, of the only one for ``None``."""
        keys = []
        for index in range(self._count("LiteRtGetNumModelSignatures", model)):
            signature = self._make("LiteRtGetModelSignature", model, index)
            keys.append(self._text("LiteRtGetSignatureKey", signature))
            if key is None or keys[-1] == key:
                return index, signature
        raise ProfilerUnavailableError(f"LiteRT's C interface finds no signature {key!r}, only {keys}")

    def _places(self, signature: _Handle, names: Sequence[str]) -> list[str]:
        """The names that the feeds use, in the order of the C interface: by name, else by position."""
        count = self._count("LiteRtGetNumSignatureInputs", signature)
        found = [self._text("LiteRtGetSignatureInputName", signature, index) for index in range(count)]
        if sorted(found) == sorted(names):
            return found
        if len(found) == len(names):
            return list(names)
        raise ProfilerUnavailableError(f"LiteRT's C interface has the inputs {found}, the file itself {list(names)}")

    def _resize(self, signature: _Handle, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Give open axes their sizes; whether there were any to give."""
        resized = False
        for place, name in enumerate(self.places):
            tensor = self._make("LiteRtGetSignatureInputTensorByIndex", signature, place)
            layout, wanted = self._type(tensor).layout, shapes[name]
            if tuple(layout.sizes[: layout.rank & 0x7F]) != wanted:
                sizes = (ctypes.c_int * len(wanted))(*wanted)
                address = ctypes.addressof(sizes)
                arguments = (self.compiled, self.index, place, address, len(wanted))
                self._call("LiteRtCompiledModelResizeInputTensor", *arguments)
                resized = True
        return resized

    def _output_layouts(self, count: int) -> Sequence[_Layout]:
        layouts = (_Layout * count)()
        address = ctypes.addressof(layouts)
        self._call("LiteRtGetCompiledModelOutputTensorLayouts", self.compiled, self.index, count, address, True)
        return list(layouts)

    def _buffers(
        self,
        environment: _Handle,
        signature: _Handle,
        side: str,
        shapes: Sequence[tuple[int, ...]] = (),
        layouts: Sequence[_Layout] | None = None,
    ) -> ctypes.Array[_Handle]:
        """Buffers for all tensors of a side, ``Input`` or ``Output``."""
        buffers = (_Handle * self._count(f"LiteRtGetNumSignature{side}s", signature))()
        for place in range(len(buffers)):
            tensor = self._make(f"LiteRtGetSignature{side}TensorByIndex", signature, place)
            kind = self._type(tensor)
            if shapes:
                kind.layout.sizes[: len(shapes[place])] = shapes[place]
            if layouts is not None:
                kind.layout = layouts[place]
            needed = self._make(f"LiteRtGetCompiledModel{side}BufferRequirements", self.compiled, self.index, place)
            function = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffers[place] = self._make(function, environment, ctypes.addressof(kind), needed)
        return buffers

    def _type(self, tensor: _Handle) -> _TensorType:
        room = ctypes.create_string_buffer(4 * ctypes.sizeof(_TensorType))  # should a version have a larger one
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.addressof(room))
        kind = _TensorType.from_buffer_copy(room)
        if kind.layout.rank & 0x7F > _MAX_RANK:
            raise ProfilerUnavailableError("this version of LiteRT describes tensors in a way of its own")
        return kind

    def _write(self, buffer: _Handle, array: Array) -> None:
        size = ctypes.c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.addressof(size))
        data = array.tobytes()
        if size.value != len(data):
            raise ProfilerUnavailableError(f"LiteRT wants {size.value} bytes for an input that has {len(data)}")
        address = ctypes.c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer, ctypes.addressof(address), _WRITE)
        ctypes.memmove(address, data, len(data))
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def _call(self, function: str, *arguments: Any) -> None:
        _check(function, getattr(self.library, function)(*arguments))

    def _make(self, function: str, *arguments: Any) -> _Handle:
        """The handle that a function writes to its last argument."""
        handle = _Handle()
        self._call(function, *arguments, ctypes.addressof(handle))
        return handle

    def _count(self, function: str, *arguments: Any) -> int:
        number = ctypes.c_size_t()
        self._call(function, *arguments, ctypes.addressof(number))
        return number.value

    def _text(self, function: str, *arguments: Any) -> str:
        text = ctypes.c_char_p()
        self._call(function, *arguments, ctypes.addressof(text))
        return (text.value or b"").decode()


def _library() -> Any:
    """The library, with the arguments of its functions declared."""
    spec = importlib.util.find_spec("ai_edge_litert")
    path = Path(spec.origin).parent / "libLiteRt.so" if spec is not None and spec.origin is not None else None
    if path is None or not path.exists():
        raise ProfilerUnavailableError("this LiteRT comes without libLiteRt.so: 2.1 is the first that profiles")
    library = ctypes.CDLL(str(path))
    missing = [name for name in _FUNCTIONS if not hasattr(library, name)]
    if missing:
        raise ProfilerUnavailableError(f"libLiteRt.so of this LiteRT has no {missing[0]}")
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return library


def _check(function: str, status: int) -> None:
    if status:
        raise ProfilerUnavailableError(f"{function} of LiteRT returned status {status}")


def _sane(events: ctypes.Array[_Event]) -> ctypes.Array[_Event]:
    """The events, if they are laid out as here: in another version they would be noise, and their tags no strings."""
    for event in events:
        if not event.tag or event.type not in _EVENT_TYPES or event.source not in _SOURCES:
            raise ProfilerUnavailableError("this version of LiteRT lays out its events in a way of its own")
    return events
