"""Figures for TensorBoard: a run for each file, its figures as scalars, its scheme and target as hyperparameters."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.harmless import harmless
from edgekit.summary_types import Summary, Variant
from edgekit.types import Profile, Report

PACKAGES = ("tensorboardX",)
EXTRA = "report"

_NAME = re.compile(r"[^\w.+-]+", re.ASCII)


def write(report: Report, summary: Summary, folder: Path) -> None:
    """Write event files.

    Args:
        report: With all figures.
        summary: Of it.
        folder: Is made; each file gets a folder in it.
    """
    from tensorboardX import SummaryWriter

    for number, one in enumerate(summary.variants):
        own = (one.path, one.device, one.threads)
        item = next(item for item in report.profiles if (item.path, item.device, item.threads) == own)
        # Numbered, for two keys may come out the same.
        place = folder / f"{number:03}-{_NAME.sub('_', one.key)[:80]}"
        with SummaryWriter(str(place)) as writer:
            for tag, value in _scalars(item).items():
                writer.add_scalar(tag, value, 0)
            writer.add_hparams(_hyperparameters(one), _scalars(item), name="hparams")


def _scalars(item: Profile) -> dict[str, float]:
    return {f"edgekit/{one.metric}": float(one.value) for one in item.measurements if one.value is not None}


def _hyperparameters(one: Variant) -> dict[str, str | int | bool]:
    return {
        "file": harmless(one.name),
        "target": one.target,
        "scheme": one.scheme,
        "device": harmless(one.device),
        "threads": one.threads,
        "baseline": one.baseline,
        "pareto": one.pareto,
        "verdict": one.verdict,
    }
