"""The file that calibration leaves: ranges of every tensor by every method, to inspect and to use again."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converters.calibration import FORMAT, methods
from converters.calibration import shift as shifts
from converters.calibration.relevance import before_softmax
from converters.calibration.statistics import MASKED, Array, TensorStatistics
from edgekit.errors import ConversionError, UsageError
from edgekit.types import from_json, to_json

VERSION = 4


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
        wide: Of 16 bits: the extremes. Softmax tells more apart in these, so its logits have another range than
            that of ``minmax``.
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
    wide: tuple[float, float]

    def chosen(self, method: str, bits: int = 8) -> tuple[float, float]:
        """The range for a method.

        With 16 bits the extremes always: a step is so small that clipping never pays.
        """
        if bits > 8:
            return self.wide
        return self.methods[self.auto if method == "auto" else method]


@dataclass(frozen=True)
class ShiftedLogits:
    """Logits that a change of the layer before them brings closer together (:mod:`converters.calibration.shift`).

    Attributes:
        shift: Of that layer.
        ranges: Of the logits behind it.
    """

    shift: shifts.Shift
    ranges: TensorRanges


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
        shifted: By the name of the logits; ``tensors`` has their ranges without a shift.
    """

    form: str
    samples: int
    origin: str
    percentile: float
    tensors: Mapping[str, TensorRanges] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    shifted: Mapping[str, ShiftedLogits] = field(default_factory=dict)

    def chosen(self, method: str, bits: int = 8) -> dict[str, tuple[float, float]]:
        """Tensor name to range."""
        name, _ = methods.parse(method)
        return {tensor.name: tensor.chosen(name, bits) for tensor in self.tensors.values()}

    def chosen_shifted(self, method: str, names: Collection[str]) -> dict[str, tuple[float, float]]:
        """Name to range in 8 bits of those of the named logits that have a shift, behind it."""
        name, _ = methods.parse(method)
        return {logits: item.ranges.chosen(name) for logits, item in self.shifted.items() if logits in names}


class Collector:
    """Takes the tensors of one sample after the other."""

    def __init__(
        self, logits: Mapping[str, int] | None = None, seed: int = 0, layers: Sequence[shifts.LinearLayer] = ()
    ) -> None:
        """Begin.

        Args:
            logits: Tensors that softmax alone reads, and its axis.
            seed: Of what is kept of large tensors.
            layers: Linear layers that make such logits.
        """
        self.logits = logits or {}
        self.seed = seed
        self.layers = layers
        self.tensors: dict[str, TensorStatistics] = {}
        self._rows = {layer.logits: shifts.Rows(layer.weights.shape[1]) for layer in layers}
        self._lowest: dict[str, float] = {}  # of the logits, as 16 bits tell them apart

    def add(self, name: str, values: Array) -> None:
        """The values of one tensor for one sample; integers are left out."""
        if values.dtype.kind == "f":
            for layer in self.layers:
                if layer.source == name:
                    self._rows[layer.logits].add(values)
            if name in self.logits:
                self._lowest[name] = min(self._lowest.get(name, 0.0), _lowest(values, self.logits[name]))
                values = before_softmax(values, self.logits[name])
            if name not in self.tensors:
                self.tensors[name] = TensorStatistics(self.seed)
            self.tensors[name].add_but_masks(values)

    def finish(self, form: str, samples: int, origin: str, percentile: float) -> Ranges:
        """Choose ranges."""
        found = {name: _tensor(name, item, percentile, self._lowest.get(name)) for name, item in self.tensors.items()}
        shifted = {}
        for layer in self.layers:
            fitted = shifts.fit(layer, self._rows[layer.logits].kept) if layer.logits in found else None
            if fitted is not None:
                shift, logits = fitted
                statistics = TensorStatistics(self.seed)
                statistics.add_but_masks(before_softmax(logits, -1))
                shifted[layer.logits] = ShiftedLogits(shift, _tensor(layer.logits, statistics, percentile))
        return Ranges(form, samples, origin, percentile, found, shifted=shifted)


def _lowest(values: Array, axis: int) -> float:
    """The least that 16 bits need of logits, or 0."""
    lifted = before_softmax(values, axis, 16)
    return float(lifted.min(initial=0.0, where=np.isfinite(lifted) & (lifted > MASKED)))


def _tensor(name: str, statistics: TensorStatistics, percentile: float, lowest: float | None = None) -> TensorRanges:
    found = methods.ranges(statistics, percentile)
    measured = methods.Errors(statistics)
    count = max(1, statistics.count)
    mean = statistics.total / count
    low, high = found["minmax"]
    deeper = 0.0 if lowest is None else min(0.0, lowest - min(0.0, statistics.low))
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
        wide=(low + deeper, high),
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
        for tensor in (*ranges.tensors.values(), *(item.ranges for item in ranges.shifted.values())):
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
    for method, (low, high) in {**tensor.methods, "of 16 bits": tensor.wide}.items():
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
