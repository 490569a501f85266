"""ExecuTorch, through the extension module of its wheel."""

from __future__ import annotations

import importlib
import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Array, Model, Profiled, Tensor

NAME = "executorch"
TITLE = "ExecuTorch"
TARGET = "executorch"
PACKAGES = ("numpy", "torch", "executorch")
EXTRA = "executorch"
DISTRIBUTION = "executorch"

SIGNATURE_METHOD = "edgekit_signature"
"""A constant method of files that edgekit wrote: a JSON string with the user's names."""

_METHOD = "forward"
_DTYPES = {  # c10::ScalarType
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64",
    5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip


def start() -> None:
    """Import torch, which the extension needs, the extension, and the kernels of quantized operators."""
    importlib.import_module("torch")
    _bindings()
    # Kernels for what a delegate leaves; they are no part of the extension, and register themselves.
    importlib.import_module("executorch.kernels.quantized")


def load(path: str, threads: int) -> Model:
    """Load a program; its delegates are initialised."""
    bindings = _bindings()
    # torch's thread count is another one. Before loading, because the delegate keeps the pool it finds.
    bindings._unsafe_reset_threadpool(threads)
    return _Program(bindings._load_for_executorch(path))


def operators(model: Any, path: str, threads: int, feeds: Sequence[Mapping[str, Array]], runs: int) -> Profiled:
    """Time each operator with an ETDump, which wheels for Linux and macOS write from 1.5 on.

    Whether one can do it shows in the file that it writes, or does not: ``has_etdump`` says yes in 1.4 too. The
    threads are those of ``model``: its delegates keep the pool, so that it must not be set again.
    """
    from profiles.runtimes import RUNS_BEFORE_PROFILE, _etdump, in_turn
    from profiles.runtimes._events import ProfilerUnavailableError, rows

    profiled = _Program(_bindings()._load_for_executorch(path, enable_etdump=True))
    run_ns = []
    for feed in in_turn(feeds, runs):
        before = perf_counter_ns()
        profiled.run(feed)
        run_ns.append(perf_counter_ns() - before)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "profile.etdp"
        profiled.module.write_etdump_result_to_file(str(written))
        if not written.exists():
            raise ProfilerUnavailableError("this ExecuTorch records no events: wheels before 1.5 and on Windows do not")
        recorded = _etdump.runs(written.read_bytes(), Path(path).read_bytes())
    if len(recorded) < runs:
        raise ProfilerUnavailableError(f"ExecuTorch has recorded {len(recorded)} of {len(run_ns)} runs")
    return {"operators": rows(recorded[-runs:]), "run_ns": run_ns[RUNS_BEFORE_PROFILE:]}


def _bindings() -> Any:
    """The extension module itself: ``executorch.runtime`` would import the exporter, for many seconds."""
    package = "executorch.extension.pybindings"
    renamed = importlib.util.find_spec(package + "._C") is not None  # since 1.5
    return importlib.import_module(package + ("._C" if renamed else "._portable_lib"))


class _Program:
    def __init__(self, module: Any) -> None:
        import torch

        self.module = module
        self.from_numpy = torch.from_numpy
        meta = module.method_meta(_METHOD)
        inputs = [_tensor(f"input_{index}", meta.input_tensor_meta(index)) for index in range(meta.num_inputs())]
        outputs = [_tensor(f"output_{index}", meta.output_tensor_meta(index)) for index in range(meta.num_outputs())]
        self.inputs, self.outputs, self.notes = inputs, outputs, ["the file names no inputs and outputs"]
        if SIGNATURE_METHOD in module.method_names():
            signature = json.loads(module.run_method(SIGNATURE_METHOD, [])[0])
            self.inputs = _named(signature["inputs"], inputs)
            self.outputs = _named(signature["outputs"], outputs)
            self.notes = []

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference."""
        values = self.module.run_method(_METHOD, [self.from_numpy(feed[item["name"]]) for item in self.inputs])
        return {
            item["name"]: values[index].numpy() if hasattr(values[index], "numpy") else values[index]
            for index, item in enumerate(self.outputs)
        }

    def undelegated(self) -> list[dict[str, str]] | None:
        """The runtime does not say; the file does, to ``edgekit inspect``."""
        return None

    def nodes(self) -> int | None:
        """As above."""
        return None


def _tensor(name: str, meta: Any) -> Tensor:
    """Sizes are upper bounds where the program was exported with dynamic ones."""
    dtype = _DTYPES.get(int(meta.dtype()), f"ScalarType {int(meta.dtype())}")
    shape: list[int | None] = [int(size) for size in meta.sizes()]
    return {"name": name, "shape": shape, "dtype": dtype, "scale": None, "zero_point": None}


def _named(declared: list[Any], found: list[Tensor]) -> list[Tensor]:
    if len(declared) != len(found):
        raise ValueError(f"{SIGNATURE_METHOD} declares {len(declared)} tensors, the method itself has {len(found)}")
    return [
        {
            "name": item["name"],
            "shape": list(item["shape"]),
            "dtype": item["dtype"],
            "scale": item.get("scale"),  # older files do not have them
            "zero_point": item.get("zero_point"),
        }
        for item in declared
    ]
