"""``edgekit check``: whether files keep the budgets of ``edgekit.toml``.

Each file is measured beside its own baseline. What another measurement may change, the budgets of time, is measured
anew, and longer, before it counts as broken or as not known; everything else is judged once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit import devices as places
from edgekit.check_judge import Evidence, judge
from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, TIMED, CheckReport, Judgement, Model, Settings
from edgekit.errors import EdgekitError, InterruptedByUserError, MissingDependencyError, UsageError
from edgekit.measuring import QUICK_BUDGET_S, Measuring
from edgekit.options import SourceOptions
from edgekit.paths import existing, names_like
from edgekit.profile import compare, profile
from edgekit.progress import Progress, Silent
from edgekit.saved import compare_runs, is_saved, load
from edgekit.types import Failure, Place, Profile, Report

LONGER = 3.0
"""How much longer files are timed the second time."""


def check(
    settings: Settings,
    *,
    models: Sequence[Path] = (),
    devices: Sequence[str] = (),
    options: SourceOptions | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Measure files and judge every budget.

    Args:
        settings: What ``edgekit.toml`` says (:func:`edgekit.check_config.load`).
        models: Those of its files to check; all when empty.
        devices: Where, instead of where it says.
        options: How to read a reference that is a source model.
        progress: Told what is going on.

    Returns:
        A judgement for each file, device and budget. A file that cannot be measured has judgements that say so.

    Raises:
        UsageError: A file is not in the settings, or what they name cannot be used.
        MissingDependencyError: A runtime is not installed.
    """
    run = _Run(settings, tuple(devices) or settings.devices, options or SourceOptions(), progress or Silent())
    if settings.reference is not None:
        _reference_exists(settings.reference)
    judgements: list[Judgement] = []
    for model in _chosen(settings, models):
        judgements += run.check(model)
    return CheckReport(
        config=str(settings.path),
        verdict=overall(judgements),
        judgements=tuple(judgements),
        failures=tuple(run.failures),
        devices=tuple(run.places.values()),
        notes=tuple(dict.fromkeys(run.notes)),
    )


def overall(judgements: Sequence[Judgement]) -> str:
    """The worst verdict: a regression outweighs what could not be told."""
    found = {one.verdict for one in judgements}
    return next((one for one in (REGRESSION, INCONCLUSIVE) if one in found), KEPT)


def _reference_exists(reference: Path) -> None:
    file, colon, _ = str(reference).rpartition(":")
    existing(file if colon and file.endswith(".py") else reference)


def _chosen(settings: Settings, files: Sequence[Path]) -> list[Model]:
    """The models that were asked for.

    Raises:
        UsageError: One is not in the settings.
    """
    if not files:
        return list(settings.models)
    found: list[Model] = []
    for file in files:
        same = [one for one in settings.models if one.path.absolute() == file.absolute() or one.name == str(file)]
        if not same:
            names = ", ".join(one.name for one in settings.models)
            hint = f"It has: {names}." if file.exists() else names_like(file) or f"It has: {names}."
            raise UsageError(f"{file} has no budgets in {settings.path}.", hint=hint)
        found += [one for one in same if one not in found]
    return found


@dataclass
class _Run:
    """One command; the lists fill while it goes on."""

    settings: Settings
    devices: tuple[str, ...]
    options: SourceOptions
    progress: Progress
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def check(self, model: Model) -> list[Judgement]:
        """Every budget of one file on every device."""
        typed = {device: places.resolve(device).name for device in self.devices if model.on(device).items()}
        evidence = self._evidence(model, typed, self._measuring(model, typed))
        found = [one for each in evidence for one in judge(each)]
        again = {each.device: typed[each.device] for each in evidence if _worth_another(each, found)}
        if not again:
            return found
        self.progress.start(f"{model.name}: timed again, longer")
        self.progress.end(f"{model.name}: timed again, longer")
        measuring = replace(self._measuring(model, again), operators=False)
        longer = replace(measuring, budget_s=measuring.budget_s * LONGER)
        second = {
            (one.device, one.budget): replace(one, attempts=2)
            for each in self._evidence(model, again, longer, timing_only=True)
            for one in judge(each)
            if one.budget in TIMED
        }
        return [second.get((one.device, one.budget), one) if one.verdict != KEPT else one for one in found]

    def _measuring(self, model: Model, typed: dict[str, str]) -> Measuring:
        """Only as much as the budgets need."""
        wanted = {budget for device in typed for budget, _ in model.on(device).items()}
        timed = bool(wanted & set(TIMED))
        return Measuring(
            threads=(self.settings.threads,),
            devices=tuple(typed),
            budget_s=self.settings.budget_s if timed else min(QUICK_BUDGET_S, self.settings.budget_s),
            thorough=False,
            operators="min_delegated" in wanted,
            timeout_s=self.options.timeout_s,
        )

    def _evidence(
        self, model: Model, typed: dict[str, str], measuring: Measuring, *, timing_only: bool = False
    ) -> list[Evidence]:
        """Measure one file on some devices, beside its baseline."""
        if not typed:
            return []
        reference = None if timing_only else self._reference(model)
        data = self.settings.data
        shown = "" if reference is None else str(reference)
        try:
            report = self._report(model, reference, measuring)
        except (UsageError, MissingDependencyError, InterruptedByUserError):
            raise
        except EdgekitError as error:
            self.failures.append(Failure(model.name, type(error).__name__, error.exit_code, error.message, error.hint))
            return [Evidence(model, device, missing=error.message) for device in typed]
        self._remember(report)
        found = []
        for device, name in typed.items():
            one = replace(self._of(model, device, name, report), reference=shown, data=data or "")
            found.append(one)
        if model.baseline is not None and is_saved(model.baseline):
            found = [self._beside_saved(one, report, typed[one.device]) for one in found]
        return found

    def _reference(self, model: Model) -> Path | None:
        """What outputs are compared with: the reference, or else the baseline; ``None`` where no budget asks."""
        asking = ("max_accuracy_drop", "min_sqnr_db")
        if not any(budget in asking for device in self.devices for budget, _ in model.on(device).items()):
            return None
        beside = None if model.baseline is None or is_saved(model.baseline) else model.baseline
        return self.settings.reference or beside

    def _report(self, model: Model, reference: Path | None, measuring: Measuring) -> Report:
        settings = self.settings
        if model.baseline is not None and not is_saved(model.baseline):
            return compare(
                [model.path], baseline=model.baseline, reference=reference, options=self.options, data=settings.data,
                data_options=settings.data_options, measuring=measuring, progress=self.progress,
            )  # fmt: skip
        return profile(
            [model.path], reference=reference, options=self.options, data=settings.data,
            data_options=settings.data_options, measuring=measuring, progress=self.progress,
        )  # fmt: skip

    def _remember(self, report: Report) -> None:
        """Failures, places and notes, each once."""
        self.failures += [one for one in report.failures if one not in self.failures]
        self.notes += report.notes
        for place in report.devices:
            self.places[place.name] = place
            self.notes += [f"{place.name}: {note}" for note in place.notes]

    def _of(self, model: Model, device: str, name: str, report: Report) -> Evidence:
        """What a report says of one file on one device."""
        own = _profile(report, str(model.path), name)
        base = None if model.baseline is None else _profile(report, str(model.baseline), name)
        failed = [one.message for one in report.failures if one.what in (str(model.path), name, device)]
        missing = failed[0] if failed else "it could not be measured"
        comparison = next(
            (
                one
                for one in report.comparisons
                if one.path == str(model.path) and one.device == one.baseline_device == name
            ),
            None,
        )
        emulated = name in self.places and self.places[name].facts.emulated
        return Evidence(model, device, own, base, comparison, emulated, "" if own is not None else missing)

    def _beside_saved(self, one: Evidence, report: Report, name: str) -> Evidence:
        """The same, compared with a saved run."""
        assert one.model.baseline is not None  # noqa: S101 - asked by who calls
        saved = load(one.model.baseline)
        key = Path(one.model.path).name
        base = next((item for item in saved.profiles if Path(item.path).name == key and item.device == name), None)
        if base is None:
            return replace(one, no_comparison=f"{one.model.baseline} has no {key} on {name}")
        if one.profile is None:
            return replace(one, baseline=base)
        here = replace(report, profiles=(one.profile,))
        there = replace(saved, profiles=(base,))
        try:
            compared = compare_runs([("baseline", there), ("now", here)])
        except UsageError as error:
            return replace(one, baseline=base, no_comparison=error.message.rstrip("."))
        return replace(one, baseline=base, comparison=compared.comparisons[0])


def _profile(report: Report, path: str, device: str) -> Profile | None:
    return next((one for one in report.profiles if one.path == path and one.device == device), None)


def _worth_another(one: Evidence, judged: Sequence[Judgement]) -> bool:
    """Whether measuring again may change a verdict of a file on a device."""
    if one.profile is None or one.emulated or one.no_comparison:
        return False
    return any(
        item.device == one.device and item.budget in TIMED and item.verdict != KEPT and _has_figure(one, item)
        for item in judged
    )


def _has_figure(one: Evidence, item: Judgement) -> bool:
    """A figure that needs more samples gets them; one that the runtime never has stays away."""
    if item.value is not None or item.budget == "max_latency_ratio":
        return True
    figure = one.figure(f"latency_{item.budget.split('_')[1]}_ns")
    return figure is not None and figure.samples > 0
