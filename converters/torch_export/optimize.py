"""``--optimize``: rewrite a program so that int8 loses less, and keep only what measurably helps.

Shifts and scales are estimated on one half of the samples, gains measured on the other.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from converters.layers import matching
from converters.torch_export import program as programs
from converters.torch_export.bias_correction import correct_biases
from converters.torch_export.equalize import equalize
from converters.torch_export.layers import layers_of
from converters.torch_export.simulate import Samples, Simulation, powers_of, ranges_of
from edgekit import feeds, reporting
from edgekit.data import SEED
from edgekit.errors import ConversionError
from edgekit.types import Quantization, from_json

MOST_SAMPLES = 64
"""For estimating, and as many again for measuring."""
LEAST_GAIN_DB = 0.05
"""Under which a step is not worth a changed program."""
_RESAMPLES = 1000
_SURE = 0.05
"""Share of resampled sets of samples on which a step that is kept may gain less than that."""


class StepReport(TypedDict):
    """What one step did.

    Attributes:
        name: Of the step.
        gain_db: ``after_db - before_db``; ``None`` where one of them is not finite.
        kept: Whether the program has it.
        before_db, after_db: SQNR of the worst output in simulated int8; ``None`` where it is not finite.
    """

    name: str
    gain_db: float | None
    kept: bool
    before_db: float | None
    after_db: float | None


class OptimizeResult(TypedDict):
    """What the job returns: sentences for the user, and the figures behind them."""

    notes: list[str]
    steps: list[StepReport]


@dataclass(frozen=True)
class _Step:
    """A rewriting.

    Attributes:
        name: For the user.
        unit: What it counts, in the singular.
        apply: Rewrites a module in place; returns how many places it changed.
    """

    name: str
    unit: str
    apply: Callable[[Any], int]


class _Measured:
    """Simulated int8 against the program as it came, sample by sample.

    Args:
        powers: Of shape ``(samples, outputs, 2)``: sums of squares of the signal and of the noise.
    """

    def __init__(self, powers: npt.NDArray[np.float64]) -> None:
        self.powers = powers

    @property
    def sqnr_db(self) -> float:
        """Of the worst output; infinite when nothing differs."""
        return float(_sqnr_db(self.powers.sum(0)[None])[0])

    def surely_better_than(self, other: _Measured) -> bool:
        """Whether it gains on this set of samples, and on nearly all sets that could have been drawn in its place.

        A paired bootstrap over samples: a gain that hangs on a few of them is none.
        """
        count = len(self.powers)
        drawn = np.random.default_rng(SEED).integers(0, count, (_RESAMPLES, count))
        with np.errstate(invalid="ignore"):  # nothing differs in either: no gain
            gains = _sqnr_db(self.powers[drawn].sum(1)) - _sqnr_db(other.powers[drawn].sum(1))
        return float(np.mean(~(gains > LEAST_GAIN_DB))) <= _SURE


def _sqnr_db(powers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the worst output, for sums of shape ``(sets, outputs, 2)``; outputs without a signal say nothing."""
    signal, noise = powers[..., 0], powers[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where((signal > 0) & (noise > 0), 10 * np.log10(signal / noise), np.inf)
    worst: npt.NDArray[np.float64] = ratios.min(1)
    return worst


class _Bench:
    """Measures simulated int8, the way the file will be made, against the program as it came."""

    def __init__(self, original: Any, data: feeds.Feeds, settings: Quantization) -> None:
        self.original = Simulation(original, None)
        chosen = _spread(data.count, 2 * MOST_SAMPLES)
        self.all, self.estimating, self.measuring = (
            Samples(data, part) for part in (chosen, chosen[::2], chosen[1::2])
        )
        self.settings = settings

    def ranges(self, module: Any) -> dict[str, tuple[float, float]]:
        # From all samples, as those of the file will be: a value that half of them does not reach would be clipped
        # before and after a step, and hide what the step does.
        return ranges_of(module, self.all, self.settings.method)

    def float_nodes(self, module: Any) -> frozenset[str]:
        """What the rules leave float.

        A pattern may also mean an operator of a target's own form, so one without a match is no error here.
        """
        layers, found, seen = layers_of(module), set(), set()
        for rule in self.settings.rules:
            for place in matching(layers, rule.match):
                if place not in seen and rule.scheme in ("float32", "float16"):
                    found.add(layers[place].name)
                seen.add(place)
        return frozenset(found)

    def measure(self, module: Any) -> _Measured:
        simulated = Simulation(module, self.ranges(module), self.float_nodes(module))
        powers = [powers_of(self.original.run(*sample), simulated.run(*sample)) for sample in self.measuring]
        return _Measured(np.array(powers))

    def equalize(self, module: Any) -> int:
        return equalize(module, self.estimating)

    def correct(self, module: Any) -> int:
        return correct_biases(module, self.ranges(module), self.estimating, self.float_nodes(module))


def optimize(source: str, output: str, feeds: str, settings: dict[str, object]) -> OptimizeResult:
    """Rewrite the program at ``source`` for int8 and write it to ``output``; unchanged when nothing helps.

    Inputs, outputs and module paths stay what they are. Biases may be corrected for what int8 shifts, so the result is
    not for float files.

    Args:
        source: A float program.
        output: Of the program to write.
        feeds: Folder with calibration samples; 64 are used at most for estimating, and 64 for measuring.
        settings: :class:`edgekit.types.Quantization` as JSON.

    Raises:
        ConversionError: There is one sample only, or the rewritten program computes something else.
    """
    exported = programs.load(source)
    data = _read(feeds)
    if data.count < 2:
        raise ConversionError(
            f"--optimize measures its gain on other samples than it works with, and there is {data.count}.",
            hint="Give more samples with --data FILE, or leave out --optimize.",
        )
    original = exported.module(check_guards=False)
    bench = _Bench(original, data, from_json(Quantization, settings))
    steps = (
        _Step("Cross-layer equalization", "pair", bench.equalize),
        _Step("Bias correction", "layer", bench.correct),
    )
    total = 1 + 2 * len(steps)
    reporting.advance(0, total)
    before = bench.measure(original)
    reporting.advance(1, total)
    kept, notes, reports = exported, [], []
    for index, step in enumerate(steps):
        # A new graph each time, in which tensors are replaced, not changed: a step that hurts leaves nothing behind.
        candidate = kept.module(check_guards=False)
        count = step.apply(candidate)
        reporting.advance(2 + 2 * index, total)
        if not count:
            notes.append(f"{step.name}: nothing to do in this model.")
            reports.append(_report(step, before.sqnr_db, before.sqnr_db, False))
            continue
        rewritten = programs.export_like(candidate, exported)
        after = bench.measure(rewritten.module(check_guards=False))
        better = after.surely_better_than(before)
        notes.append(_sentence(step, count, before.sqnr_db, after.sqnr_db, better))
        reports.append(_report(step, before.sqnr_db, after.sqnr_db, better))
        if better:
            kept, before = rewritten, after
        reporting.advance(3 + 2 * index, total)
    reporting.advance(total, total)
    if kept is exported:
        shutil.copyfile(source, output)
    else:
        programs.save(kept, Path(output))
    return {"notes": notes, "steps": reports}


def _read(folder: str) -> feeds.Feeds:
    return feeds.read(Path(folder))


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` places out of ``count``, evenly spread."""
    chosen = min(count, most)
    return [index * count // chosen for index in range(chosen)]


def _sentence(step: _Step, count: int, before: float, after: float, better: bool) -> str:
    places = f"{count} {step.unit}{'s' if count > 1 else ''}"
    gain = f"{after - before:+.1f} dB" if math.isfinite(after - before) else "no gain that can be measured"
    kept = "" if better else ", not kept"
    return f"{step.name} ({places}): {gain} in simulated int8 ({before:.1f} -> {after:.1f}){kept}."


def _report(step: _Step, before: float, after: float, kept: bool) -> StepReport:
    gain = after - before
    return {
        "name": step.name,
        "gain_db": gain if math.isfinite(gain) else None,
        "kept": kept,
        "before_db": before if math.isfinite(before) else None,
        "after_db": after if math.isfinite(after) else None,
    }
