"""Ranges of the tensors of a ``torch.export`` program, by running it over samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.calibration import ranges as ranges_file
from converters.calibration.ranges import Collector
from converters.graph import TORCH_EXPORT
from converters.torch_export import program as programs
from converters.torch_export.logits import layers_before, logits_of
from converters.torch_export.quantized import to_float
from edgekit import feeds as feeds_files
from edgekit import reporting
from edgekit.errors import ConversionError
from edgekit.plugins import Calibration


def calibrate(source: str, output: str, feeds: str, percentile: float) -> dict[str, Any]:
    """Run a program over every sample and write the ranges of its tensors, inputs and outputs included.

    Tensors go by the names of their nodes. One sample at a time, and each tensor is let go when the last operator
    that needs it has run, so memory does not grow with the number of samples. A program that arrived quantized is run
    as the float one that it approximates.

    Args:
        source: Path of the program.
        output: Path of the ranges file to write.
        feeds: Feeds folder (:mod:`edgekit.feeds`) whose arrays are in the order of the program's inputs.
        percentile: Of the method of that name.

    Returns:
        ``{"tensors": their number}``.

    Raises:
        ConversionError: There are no samples.
    """
    import torch

    exported, _ = to_float(programs.load(source))
    module = exported.module(check_guards=False)
    data = feeds_files.read(Path(feeds))
    if not data.count:
        raise ConversionError("There are no samples to calibrate on.", hint="--data FILE with 100 or more samples")
    collector = Collector(logits_of(module), layers=layers_before(module))
    watched = _watching(module, collector)
    with torch.no_grad():
        for done, sample in enumerate(data.samples(), start=1):
            watched.run(*(torch.from_numpy(array) for array in sample.values()))
            reporting.advance(done, data.count)
    found = collector.finish(TORCH_EXPORT, data.count, data.origin, percentile)
    ranges_file.write(Path(output), found)
    return {"tensors": len(found.tensors)}


def _watching(module: Any, collector: Collector) -> Any:
    """An interpreter of a graph module that shows each tensor to a collector, the stored weights left out."""
    import torch

    class Watching(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
            if is_float and n.op in ("placeholder", "call_function"):
                collector.add(n.name, value.float().numpy())  # NumPy has no bfloat16
            return value

    return Watching(module)


CALIBRATION = Calibration(
    form=TORCH_EXPORT,
    entry="converters.torch_export.calibrate:calibrate",
    preload=("torch",),
    packages=("torch",),
    extra="torch",
)
