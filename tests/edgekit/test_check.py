from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgekit import check as checking
from edgekit.check import check, overall
from edgekit.check_judge import Evidence, judge
from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, CheckReport, Judgement, Limits, Model, Settings
from edgekit.cli import State, cli
from edgekit.errors import MeasurementError, UsageError
from edgekit.measuring import Measuring
from edgekit.profile import profile
from edgekit.report.check_table import show
from edgekit.report.console import guarded
from edgekit.report.junit import junit
from edgekit.report.step_summary import step_summary
from edgekit.types import Comparison, DeviceFacts, Drift, Measurement, Place, Profile, Report, Turn, to_json

MODELS = Path(__file__).parents[1] / "profiles" / "models"
HOSTILE = 'a|b<script>"&\x1b[31m\u202e`$(x)`\n[c](d).onnx'


def measured(metric: str, value: float | None, low: float | None = None, high: float | None = None) -> Measurement:
    better = metric not in ("size_bytes", "latency_p50_ns", "latency_p90_ns")
    unit = "ratio" if metric.startswith("task") else ""
    why = "" if value is not None else f"no {metric} here"
    return Measurement(metric, value, unit, better, low, high, samples=1000, unavailable=why)


def profiled(*measurements: Measurement, ns: tuple[int, ...] = (), **more: Any) -> Profile:
    turns = (Turn(0, ns),) if ns else ()
    return Profile("m.onnx", "onnx", "", "", "", 1, measurements, turns=turns, **more)


def judged(limits: Limits, profile: Profile | None, **more: Any) -> Judgement:
    (found,) = judge(Evidence(Model("m.onnx", Path("m.onnx"), limits=limits), "host", profile, **more))
    return found


BASE = profiled(measured("size_bytes", 1000))
DELEGATED = (measured("delegated_nodes_ratio", 0.5), measured("delegated_macs_ratio", 0.9))
NO_MACS = (measured("delegated_nodes_ratio", 0.5), measured("delegated_macs_ratio", None))
SAME = Drift("y", 0.0, None, 1.0, 1.0, 10)
BROKEN = Drift("y", None, None, None, None, 10, finding="not finite")


@pytest.mark.parametrize(
    ("limits", "profile", "more", "verdict", "reason"),
    [
        (Limits(max_size=1000), BASE, {}, KEPT, ""),
        (Limits(max_size=999), BASE, {}, REGRESSION, ""),
        (Limits(max_size_ratio=1.02), profiled(measured("size_bytes", 1020)), {"baseline": BASE}, KEPT, ""),
        (Limits(max_size_ratio=1.02), profiled(measured("size_bytes", 1021)), {"baseline": BASE}, REGRESSION, ""),
        (Limits(max_size_ratio=1.02), BASE, {"no_comparison": "it is gone"}, INCONCLUSIVE, "it is gone"),
        (Limits(max_p50_ms=5), profiled(measured("latency_p50_ns", 4e6, 3e6, 4.9e6)), {}, KEPT, ""),
        (Limits(max_p50_ms=5), profiled(measured("latency_p50_ns", 6e6, 5.1e6, 7e6)), {}, REGRESSION, ""),
        (Limits(max_p50_ms=5), profiled(measured("latency_p50_ns", 5e6, 4e6, 7e6)), {}, INCONCLUSIVE, "holds"),
        (Limits(max_p50_ms=5), profiled(measured("latency_p50_ns", 4e6)), {}, INCONCLUSIVE, "too few rounds"),
        (
            Limits(max_p50_ms=5),
            profiled(measured("latency_p50_ns", 4e6, 3e6, 4.9e6)),
            {"emulated": True},
            INCONCLUSIVE,
            "emulated",
        ),
        (Limits(max_p90_ms=5), profiled(measured("latency_p90_ns", 4e6), ns=(4_000_000,) * 99), {}, KEPT, ""),
        (Limits(max_p90_ms=3), profiled(measured("latency_p90_ns", 4e6), ns=(4_000_000,) * 99), {}, REGRESSION, ""),
        (Limits(max_p90_ms=3), profiled(measured("latency_p90_ns", None)), {}, INCONCLUSIVE, "no latency_p90_ns"),
        (Limits(min_accuracy=0.9), profiled(measured("accuracy", 0.95, 0.93, 0.97)), {}, KEPT, ""),
        (Limits(min_accuracy=0.98), profiled(measured("accuracy", 0.95, 0.93, 0.97)), {}, REGRESSION, ""),
        (Limits(min_accuracy=0.94), profiled(measured("accuracy", 0.95, 0.93, 0.97)), {}, INCONCLUSIVE, "1000 samples"),
        (Limits(min_accuracy=0.94), profiled(measured("accuracy", None)), {}, INCONCLUSIVE, "no accuracy here"),
        (Limits(max_accuracy_drop=0.01), profiled(measured("task_top1_change", 0, -0.009, 0.009)), {}, KEPT, ""),
        (
            Limits(max_accuracy_drop=0.01),
            profiled(measured("task_top1_change", -0.03, -0.04, -0.02)),
            {},
            REGRESSION,
            "",
        ),
        (
            Limits(max_accuracy_drop=0.01),
            profiled(measured("task_top1_change", 0, -0.02, 0.02)),
            {},
            INCONCLUSIVE,
            "1000 samples",
        ),
        (Limits(max_accuracy_drop=0.0), profiled(drift=(SAME,)), {}, KEPT, "identical"),
        (Limits(max_accuracy_drop=0.0), profiled(), {}, INCONCLUSIVE, "not measured"),
        (Limits(min_sqnr_db=30), profiled(measured("drift_sqnr_db", 31)), {}, KEPT, ""),
        (Limits(min_sqnr_db=30), profiled(measured("drift_sqnr_db", 29)), {}, REGRESSION, ""),
        (Limits(min_sqnr_db=30), profiled(measured("drift_sqnr_db", None)), {}, INCONCLUSIVE, "no drift"),
        (Limits(min_sqnr_db=30), profiled(drift=(SAME,)), {}, KEPT, "identical"),
        (Limits(min_sqnr_db=30), profiled(drift=(SAME, BROKEN)), {}, REGRESSION, "not finite"),
        (Limits(min_delegated=0.9), profiled(*DELEGATED), {}, KEPT, ""),
        (Limits(min_delegated=0.95), profiled(*DELEGATED), {}, REGRESSION, ""),
        (Limits(min_delegated=0.9), profiled(*NO_MACS), {}, REGRESSION, ""),
        (Limits(min_delegated=0.9), None, {"missing": "it crashed"}, INCONCLUSIVE, "it crashed"),
    ],
)
def test_verdicts(limits: Limits, profile: Profile | None, more: dict[str, Any], verdict: str, reason: str) -> None:
    found = judged(limits, profile, **more)
    assert found.verdict == verdict
    assert reason in found.reason
    assert bool(found.hint) is (verdict != KEPT and profile is not None)


@pytest.mark.parametrize(
    ("ratio", "floor", "verdict"), [(1.0, 0.01, KEPT), (1.1, 0.01, REGRESSION), (1.1, 0.09, INCONCLUSIVE)]
)
def test_ratios_heed_the_noise_of_the_baseline(ratio: float, floor: float, verdict: str) -> None:
    comparison = Comparison("m", 1, "b", 1, "slower", ratio, ratio - 0.01, ratio + 0.01, floor, 100)
    assert judged(Limits(max_latency_ratio=1.05), profiled(), comparison=comparison).verdict == verdict


def test_a_regression_outweighs_what_could_not_be_told() -> None:
    one = Judgement("m", "host", "max_size", 1, KEPT)
    unknown, broken = replace(one, verdict=INCONCLUSIVE), replace(one, verdict=REGRESSION)
    assert [overall(each) for each in ([one], [one, unknown], [unknown, broken])] == [KEPT, INCONCLUSIVE, REGRESSION]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "m.onnx").write_text("m")
    (tmp_path / "b.onnx").write_text("b")
    limits = Limits(max_latency_ratio=1.05, max_size=10)
    model = Model("m.onnx", tmp_path / "m.onnx", tmp_path / "b.onnx", limits)
    return Settings(tmp_path / "edgekit.toml", (model,), budget_s=2.0)


Calls = list[Measuring]


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[..., Calls]:
    """Lets ``compare`` find given ratios, one call after the other, and a file of given size."""

    def prepare(*ratios: float, size: int = 5, emulated: bool = False) -> Calls:
        calls: Calls = []

        def fake(files: Any, *, baseline: Path, measuring: Measuring, **_: Any) -> Report:
            ratio = ratios[len(calls)]
            calls.append(measuring)
            path = str(files[0])
            profile = replace(profiled(measured("size_bytes", size)), path=path)
            one = Comparison(path, 1, str(baseline), 1, "", ratio, ratio - 0.01, ratio + 0.01, 0.01, 100)
            facts = DeviceFacts("host", "Linux", "x86_64", "cpu", 2, 1, "3.11", 0.0, emulated=emulated)
            return Report("", profiles=(profile,), comparisons=(one,), devices=(Place("host", facts),))

        monkeypatch.setattr(checking, "compare", fake)
        return calls

    return prepare


def verdicts(report: CheckReport) -> dict[str, tuple[str, int]]:
    return {one.budget: (one.verdict, one.attempts) for one in report.judgements}


def test_what_is_kept_is_measured_once(settings: Settings, measuring: Callable[..., Calls]) -> None:
    calls = measuring(1.0)
    assert verdicts(check(settings)) == {"max_size": (KEPT, 1), "max_latency_ratio": (KEPT, 1)}
    assert [one.budget_s for one in calls] == [2.0]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(1.2, 1.0, KEPT), (1.2, 1.2, REGRESSION), (1.05, 1.2, REGRESSION), (1.05, 1.05, INCONCLUSIVE)],
)
def test_time_is_measured_again_and_longer(
    settings: Settings, measuring: Callable[..., Calls], first: float, second: float, verdict: str
) -> None:
    calls = measuring(first, second)
    report = check(settings)
    assert verdicts(report) == {"max_size": (KEPT, 1), "max_latency_ratio": (verdict, 2)}
    assert report.verdict == verdict
    assert [one.budget_s for one in calls] == [2.0, 6.0]


def test_what_is_exact_is_not_measured_again(settings: Settings, measuring: Callable[..., Calls]) -> None:
    calls = measuring(1.0, size=11)
    assert verdicts(check(settings)) == {"max_size": (REGRESSION, 1), "max_latency_ratio": (KEPT, 1)}
    assert len(calls) == 1


def test_emulated_times_are_not_judged(settings: Settings, measuring: Callable[..., Calls]) -> None:
    calls = measuring(1.2, emulated=True)
    assert verdicts(check(settings))["max_latency_ratio"] == (INCONCLUSIVE, 1)
    assert len(calls) == 1


def test_a_file_that_cannot_be_measured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Report:
        raise MeasurementError("It crashed.", hint="Look.")

    monkeypatch.setattr(checking, "compare", fail)
    report = check(settings)
    assert set(verdicts(report).values()) == {(INCONCLUSIVE, 1)}
    assert [(one.what, one.exit_code) for one in report.failures] == [("m.onnx", 6)]


def test_a_file_without_budgets(settings: Settings) -> None:
    with pytest.raises(UsageError, match="has no budgets") as caught:
        check(settings, models=[settings.path.parent / "b.onnx"])
    assert "m.onnx" in caught.value.hint


def hostile() -> CheckReport:
    broken = Judgement(HOSTILE, HOSTILE, "max_size", 1e5, REGRESSION, 2e5, reason=HOSTILE, hint=HOSTILE)
    unknown = replace(broken, budget="max_p90_ms", verdict=INCONCLUSIVE, value=None)
    kept = replace(broken, budget="min_accuracy", verdict=KEPT, limit=0.9, value=0.95, low=0.93, high=0.97)
    return CheckReport("edgekit.toml", REGRESSION, (broken, unknown, kept), notes=(HOSTILE,))


def test_junit_holds_any_name() -> None:
    text = junit(hostile())
    assert "\x1b" not in text
    suite = ET.fromstring(text).find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3", "failures": "1", "errors": "1",
    }  # fmt: skip
    assert [[part.tag for part in case] for case in suite] == [["failure"], ["error"], ["system-out"]]
    assert '<script>"&' in (suite[0].get("classname") or "")
    assert "200 kB, limit ≤ 100 kB" in (suite[0][0].get("message") or "")


def test_the_summary_holds_any_name() -> None:
    text = step_summary(hostile())
    assert not {"\x1b", "\u202e"} & set(text)
    assert "<script" not in text
    assert "](d)" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.count("|") for row in rows} == {7}
    assert "95.00 % &#91;93.00, 97.00&#93;" in text


def test_the_table_fits_a_terminal_and_holds_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    show(hostile(), guarded(Console(width=80, no_color=True, markup=False)))
    text = capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & set(text)
    assert "REGRESSION" in text
    assert "1 of 3 budgets kept, 1 regression, 1 inconclusive." in text


def typed(*arguments: object) -> Result:
    state = State(json="--json" in arguments)
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], obj=state, standalone_mode=False)


@pytest.mark.usefixtures("own_scratch")
def test_real_files_from_settings_to_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(MODELS / "tiny.onnx", tmp_path / "new.onnx")
    shutil.copy(MODELS / "tiny.onnx", tmp_path / "old.onnx")
    config = tmp_path / "edgekit.toml"
    config.write_text(
        "[check]\nbudget_s = 0.5\n"
        '[check.models."new.onnx"]\nbaseline = "old.onnx"\nmax_size = "1 kB"\nmax_size_ratio = 1.0\n'
        "max_p50_ms = 10_000\nmax_accuracy_drop = 0.0\nmin_sqnr_db = 60\n"
    )
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    files = {name: tmp_path / name for name in ("out.xml", "out.md")}
    result = typed("--config", config, "--junit", files["out.xml"], "--summary", files["out.md"], "--json", "-q")
    assert result.return_value == 10, result.output
    found = json.loads(result.stdout)
    assert found["schema_version"] == to_json(CheckReport("", KEPT, ()))["schema_version"]
    assert {one["budget"]: one["verdict"] for one in found["judgements"]} == {
        "max_size": REGRESSION, "max_size_ratio": KEPT, "max_p50_ms": KEPT,
        "max_accuracy_drop": KEPT, "min_sqnr_db": KEPT,
    }  # fmt: skip
    assert ET.fromstring(files["out.xml"].read_text()).get("failures") == "1"  # noqa: S314 - our own
    assert step.read_text() == "before\n" + files["out.md"].read_text()


def test_a_folder_that_is_not_there_is_told_first(tmp_path: Path) -> None:
    result = typed("--config", tmp_path / "none.toml", "--junit", tmp_path / "none" / "out.xml")
    assert isinstance(result.exception, UsageError)
    assert "no such folder" in result.exception.message


@pytest.mark.usefixtures("own_scratch")
def test_a_saved_run_is_a_baseline_of_the_same_conditions_alone(tmp_path: Path) -> None:
    shutil.copy(MODELS / "tiny.onnx", tmp_path / "m.onnx")
    saved = profile([tmp_path / "m.onnx"], measuring=Measuring(budget_s=0.5, thorough=False))
    limits = Limits(max_size_ratio=1.0, max_latency_ratio=100.0)
    path = tmp_path / "before.json"
    settings = Settings(tmp_path / "edgekit.toml", (Model("m.onnx", tmp_path / "m.onnx", path, limits),), budget_s=0.5)
    for cpu, kept in ((None, True), ("another one", False)):
        (place,) = saved.devices
        fingerprint = dict(place.fingerprint) | ({} if cpu is None else {"cpu": cpu})
        path.write_text(json.dumps(to_json(replace(saved, devices=(replace(place, fingerprint=fingerprint),)))))
        size, ratio = check(settings).judgements
        assert size.verdict == KEPT
        assert (ratio.value is not None) is kept
        assert kept or (ratio.verdict, ratio.attempts) == (INCONCLUSIVE, 1)
        assert kept or "cpu: another one" in ratio.reason
