"""The file that calibration leaves: ranges of every tensor by every method, to inspect and to use again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.calibration import FORMAT, methods
from converters.calibration.relevance import before_softmax
from converters.calibration.statistics import Array, TensorStatistics
from edgekit.errors import ConversionError, UsageError
from edgekit.types import from_json, to_json

VERSION = 3


@dataclass(frozen=True)
class TensorRanges:
    """What calibration found out about one tensor.

    Attributes:
        name: In the form that was run.
        count: Finite values seen.
        minimum, maximum, mean, deviation: Of these.
        not_finite: NaNs and infinities seen beside them.
        methods: Method to the range it chose; each holds zero, and has room below for masks where there were any.
        errors: Method to the mean squared error of 8 bits over its range.
        auto: The method that ``auto`` stands for here.
    """

    name: str
    count: int
    minimum: float
    maximum: float
    mean: float
    deviation: float
    not_finite: int
    methods: Mapping[str, tuple[float, float]]
    errors: Mapping[str, float]
    auto: str

    def chosen(self, method: str, bits: int = 8) -> tuple[float, float]:
        """The range for a method.

        With 16 bits the extremes always: a step is so small that clipping never pays.
        """
        if bits > 8:
            return self.methods["minmax"]
        return self.methods[self.auto if method == "auto" else method]


@dataclass(frozen=True)
class Ranges:
    """All ranges of one form of a model.

    Attributes:
        form: That was run: ``TFLite``.
        samples: Number of samples.
        origin: Where they came from, in words.
        percentile: Of the method of that name.
        tensors: By name.
        conditions: What the ranges belong to: hashes of model and data, seed, tool versions.
    """

    form: str
    samples: int
    origin: str
    percentile: float
    tensors: Mapping[str, TensorRanges] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, method: str, bits: int = 8) -> dict[str, tuple[float, float]]:
        """Tensor name to range."""
        name, _ = methods.parse(method)
        return {tensor.name: tensor.chosen(name, bits) for tensor in self.tensors.values()}


class Collector:
    """Takes the tensors of one sample after the other."""

    def __init__(self, logits: Mapping[str, int] | None = None, seed: int = 0) -> None:
        self.logits = logits or {}  # tensors that softmax alone reads, and its axis
        self.seed = seed
        self.tensors: dict[str, TensorStatistics] = {}

    def add(self, name: str, values: Array) -> None:
        """The values of one tensor for one sample; integers are left out."""
        if values.dtype.kind == "f":
            if name in self.logits:
                values = before_softmax(values, self.logits[name])
            if name not in self.tensors:
                self.tensors[name] = TensorStatistics(self.seed)
            self.tensors[name].add_but_masks(values)

    def finish(self, form: str, samples: int, origin: str, percentile: float) -> Ranges:
        """Choose ranges."""
        found = {name: _tensor(name, item, percentile) for name, item in self.tensors.items()}
        return Ranges(form, samples, origin, percentile, found)


def _tensor(name: str, statistics: TensorStatistics, percentile: float) -> TensorRanges:
    found = methods.ranges(statistics, percentile)
    measured = methods.Errors(statistics)
    count = max(1, statistics.count)
    mean = statistics.total / count
    return TensorRanges(
        name=name,
        count=statistics.count,
        minimum=statistics.low,
        maximum=statistics.high,
        mean=mean,
        deviation=max(0.0, statistics.squares / count - mean * mean) ** 0.5,
        not_finite=statistics.not_finite,
        methods=found,
        errors={method: measured(item) for method, item in found.items()},
        auto=methods.best(found, statistics),
    )


def write(path: Path, ranges: Ranges) -> None:
    """Write a ranges file."""
    path.write_text(json.dumps({"format": FORMAT, "version": VERSION, **to_json(ranges)}, indent=1) + "\n")


def read(path: Path) -> Ranges:
    """Read a ranges file.

    Raises:
        ConversionError: It is damaged, or of another version.
    """
    import cattrs

    try:
        content: Any = json.loads(path.read_text())
        if content.pop("format") != FORMAT or content.pop("version") != VERSION:
            raise ValueError(f"not version {VERSION} of an {FORMAT} file")
        ranges = from_json(Ranges, content)
        for tensor in ranges.tensors.values():
            _check(tensor)
        return ranges
    except (ValueError, KeyError, AttributeError, TypeError, OSError, cattrs.BaseValidationError) as error:
        raise ConversionError(f"{path}: these calibration ranges cannot be read: {error}.") from error


def _check(tensor: TensorRanges) -> None:
    """People edit these files.

    Raises:
        ValueError: It lacks the range of a method, or has one that no tensor can be quantized with.
    """
    lacking = {tensor.auto, *methods.METHODS} - {"auto", *tensor.methods}
    if lacking:
        raise ValueError(f"tensor {tensor.name!r} has no range of method {', '.join(sorted(lacking))}")
    for method, (low, high) in tensor.methods.items():
        if not -math.inf < low <= 0 <= high < math.inf:
            raise ValueError(f"tensor {tensor.name!r}, method {method}: {low} to {high} does not hold zero")


def needed(path: str | None, scheme: str) -> Ranges:
    """The ranges that a static scheme was given.

    Raises:
        UsageError: There are none.
    """
    if path is None:
        raise UsageError(f"{scheme} needs calibration data.", hint="--data FILE")
    return read(Path(path))
