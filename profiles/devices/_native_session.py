"""A file in a native program on a device, turn by turn."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgekit import feeds as samples_on_disk
from edgekit import registry
from edgekit.errors import MeasurementError
from edgekit.types import FloatOperator, Signature, TensorSpec
from profiles.agent import binding
from profiles.devices._native_dialect import Dialect, Run, Timed
from profiles.devices._shell import last_line

if TYPE_CHECKING:
    from profiles.devices._remote import RemoteDevice

NOTE = (
    "measured by {program}, a program of the runtime's own, started anew for each turn: no Python is in its times, it "
    "has the priority of a shell and not of an app, and its figures are not compared with those of edgekit's agent"
)
_NOT_SAID = "{program} does not say"
_SAMPLES_AT_A_TIME = 16


class NativeSession:
    """One file in a native program on a device (:class:`edgekit.device_plugins.Session`)."""

    def __init__(
        self,
        device: RemoteDevice,
        dialect: Dialect,
        program: str,
        path: Path,
        signature: Signature,
        threads: int,
        feeds: Path | None,
        timeout_s: float,
        affinity: Sequence[int] | None,
    ) -> None:
        self.device, self.dialect, self.program, self.path = device, dialect, program, path
        self.signature, self.threads, self.timeout_s, self.affinity = signature, threads, timeout_s, affinity
        self.feeds = feeds
        self.model = device.store.file(path)
        self.folder = f"{device.hold()}/native-{id(self):x}"
        self.outputs_notes: tuple[str, ...] = ()
        self.link_notes: tuple[str, ...] = ()
        self._inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
        self._loaded: Timed | None = None

    def ready(self) -> Mapping[str, Any]:
        """Nothing is started before it is needed, and the program does not say its version."""
        runtime = registry.runtimes()[registry.targets()[self.dialect.TARGET].runtime]
        nothing = {"rss_bytes": None, "peak_bytes": None, "peak_reset": False}
        versions = {runtime.DISTRIBUTION: f"({self.dialect.PROGRAM}, which does not say its version)"}
        return {"import_ns": None, "versions": versions, "memory": nothing}

    def load(self) -> Mapping[str, Any]:
        """Start the program once, for the time that loading takes."""
        if self._loaded is None:
            self._loaded = self._run(0, 1)
        return {
            "load_ns": self._loaded.load_ns,
            "inputs": list(map(_tensor, self.signature.inputs)),
            "outputs": list(map(_tensor, self.signature.outputs)),
            "notes": [NOTE.format(program=self.dialect.PROGRAM)],
            "memory": {"rss_bytes": None, "peak_bytes": None},
        }

    def first(self, feeds: Path | None = None) -> Mapping[str, Any]:
        """The first run of a fresh process, on the first sample."""
        folder = feeds or self.feeds
        if folder is None:
            raise ValueError("no feeds were given, neither here nor at the start")
        self._inputs = self._send(folder, [0])[0]
        found = self._run(0, 1)
        first = found.first_ns if found.first_ns is not None else found.ns[0]
        return {"first_ns": first, "memory": {"rss_bytes": None, "peak_bytes": None}}

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        """Start the program for a turn."""
        ns = self._run(discard, count).ns
        return {"ns": ns, "switches": [0] * len(ns), "run_delay_ns": None, "typical": len(ns) < count}

    def sentinel(self) -> Mapping[str, Any]:
        """There is nothing to compute it with."""
        return {"sentinel_ns": []}

    def peak(self, threads: int) -> Mapping[str, Any]:
        """Needs NumPy."""
        return self._unavailable()

    def idle(self, seconds: float, count: int) -> Mapping[str, Any]:
        """The program makes no such pauses.

        Raises:
            MeasurementError: Always.
        """
        raise MeasurementError(f"{self.dialect.PROGRAM} cannot be timed after pauses.", hint="Leave --cold out.")

    def conditions(self) -> Mapping[str, Any]:
        """What its shell says of the machine."""
        from profiles.devices._facts import conditions

        return conditions(self.device.transport)

    def arena(self) -> Mapping[str, Any]:
        """Only the file may say."""
        return self._unavailable()

    def outputs(self, feeds: Path, into: Path, on_progress: Callable[[int], None] | None = None) -> Path:
        """Start the program for each sample, and bring its outputs here."""
        given = samples_on_disk.read(feeds)
        arrays: dict[str, Any] = {}
        for start in range(0, given.count, _SAMPLES_AT_A_TIME):
            places = range(start, min(given.count, start + _SAMPLES_AT_A_TIME))
            folder = into.parent / f"{into.name}-raw-{start}"
            self._run_samples(feeds, list(places), folder)
            for place in places:
                values = self._outputs_of(folder, place)
                if not arrays:
                    shapes = {name: (value.shape, value.dtype) for name, value in values.items()}
                    arrays = samples_on_disk.create(into, shapes, given.count)
                for name, value in values.items():
                    arrays[name][place] = value
            if on_progress is not None:
                on_progress(places[-1] + 1)
        self.outputs_notes = (f"samples were run in a process of {self.dialect.PROGRAM} each",)
        return into

    def undelegated(self) -> tuple[FloatOperator, ...] | None:
        """The program does not say."""
        return None

    def coverage(self) -> Mapping[str, Any]:
        """The program does not say."""
        return {"undelegated": None, "nodes": None}

    def operators(self, feeds: Path, runs: int) -> Mapping[str, Any]:
        """Not read from native programs."""
        return {"operators": [], "run_ns": [], **self._unavailable()}

    def close(self) -> None:
        """Its folder goes with the command's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unavailable(self) -> dict[str, str]:
        return {"unavailable": _NOT_SAID.format(program=self.dialect.PROGRAM)}

    def _run(self, discard: int, count: int) -> Timed:
        run = Run(self.program, self.model, self.threads, discard, count, self._inputs)
        printed = self._start(self._words(run))
        try:
            return self.dialect.read(printed, discard, count)
        except ValueError as error:
            raise MeasurementError(
                f"{self.path}: {self.dialect.PROGRAM} on {self.device.name} printed no time: {error}.",
                hint="Is it a program for this device, and of a version that edgekit knows? docs/android.md",
            ) from error

    def _start(self, script: str) -> str:
        """Run on the device, and end there by the time limit, too."""
        limited = f"mkdir -p {shlex.quote(self.folder)} && cd {shlex.quote(self.folder)} && {{ {script}; }} 2>&1"
        found = self.device.transport.run(f"{limited} </dev/null", timeout_s=self.timeout_s)
        printed = found.stdout.decode(errors="replace")
        if found.code:
            raise MeasurementError(
                f"{self.path}: {self.dialect.PROGRAM} on {self.device.name} ended with exit code {found.code}: "
                f"{last_line(printed)}",
                hint="Is it for this processor, and does it know all operators of the file?",
            )
        return printed

    def _words(self, run: Run) -> str:
        bind = []
        if self.affinity:
            bind = ["taskset", f"{sum(1 << cpu for cpu in self.affinity):x}"]
        return " ".join(map(shlex.quote, [*bind, *self.dialect.command(run)]))

    def _send(self, feeds: Path, places: Sequence[int]) -> list[tuple[tuple[str, tuple[int, ...]], ...]]:
        """Samples as the program reads them: plain values, a file for each input."""
        given = samples_on_disk.read(feeds)
        specs = self.signature.inputs
        pairs = binding.match([one.name for one in specs], list(given.arrays))
        folder = feeds.parent / f"{feeds.name}-{self.dialect.TARGET}-{places[0]}-{len(places)}"
        folder.mkdir(exist_ok=True)
        found = []
        for place in places:
            inputs = []
            for number, spec in enumerate(specs):
                value = np.asarray(binding.fit(_tensor(spec), pairs[spec.name], given.arrays[pairs[spec.name]][place]))
                (folder / f"{place}-{number}.bin").write_bytes(np.ascontiguousarray(value).tobytes())
                inputs.append((f"{place}-{number}.bin", value.shape))
            found.append(tuple(inputs))
        there = f"{self.folder}/in-{places[0]}-{len(places)}"
        self.device.transport.run(f"mkdir -p {shlex.quote(self.folder)}")
        self.device.transport.push(folder, there)
        return [tuple((f"{there}/{name}", shape) for name, shape in inputs) for inputs in found]

    def _run_samples(self, feeds: Path, places: Sequence[int], folder: Path) -> None:
        inputs = self._send(feeds, places)
        out = f"{self.folder}/out"
        commands = [
            self._words(Run(self.program, self.model, self.threads, 0, 1, one, f"{out}/{place}"))
            for place, one in zip(places, inputs, strict=True)
        ]
        quoted = shlex.quote(out)
        self._start(f"rm -rf {quoted} && mkdir {quoted} && " + " >/dev/null && ".join(commands))
        self.device.transport.pull(out, folder)
        self.device.transport.run(f"rm -rf {quoted} {shlex.quote(self.folder)}/in-{places[0]}-{len(places)}")

    def _outputs_of(self, folder: Path, place: int) -> dict[str, Any]:
        """Outputs of one sample, as floats where integers stand for them."""
        specs = self.signature.outputs
        names = self.dialect.output_files(str(place), len(specs))
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise MeasurementError(
                f"{self.path}: {self.dialect.PROGRAM} wrote no outputs.",
                hint="Its version may be too old to; measure without --reference and --data, or take a newer one.",
            )
        content = b"".join((folder / name).read_bytes() for name in names)
        found: dict[str, Any] = {}
        for spec in specs:
            shape = tuple(1 if size is None else size for size in spec.shape)
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
            if len(content) < size:
                raise MeasurementError(
                    f"{self.path}: {self.dialect.PROGRAM} wrote too little for output {spec.name!r}."
                )
            values = np.frombuffer(content[:size], spec.dtype).reshape(shape)
            found[spec.name] = binding.dequantized(_tensor(spec), values)
            content = content[size:]
        return found


def _tensor(spec: TensorSpec) -> Any:
    """As the agent has it."""
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }
