from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgekit.cli import State, cli
from edgekit.errors import MeasurementError, UsageError
from edgekit.measuring import Measuring
from edgekit.profile import compare, profile
from edgekit.saved import SEQUENTIAL_FLOOR, compare_saved
from edgekit.subjects import File, Subject
from edgekit.types import DeviceFacts, Measurement, Place, Profile, Report, Turn, to_json
from edgekit.versus import Versus
from profiles import pairs
from profiles.devices._session import AgentSession

MODELS = Path(__file__).parents[1] / "profiles" / "models"
pytestmark = pytest.mark.usefixtures("own_scratch")
QUICK = Measuring(budget_s=1.0)


def typed(*arguments: object) -> Result:
    state = State(json="--json" in arguments)
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)], obj=state, standalone_mode=False)


def test_every_file_beside_the_baseline() -> None:
    report = compare([MODELS / "tiny.onnx", MODELS / "tiny.tflite"], measuring=QUICK)
    assert report.command == "edgekit compare"
    (one,) = report.comparisons
    assert (Path(one.path).name, Path(one.baseline).name) == ("tiny.tflite", "tiny.onnx")
    assert one.ratio is not None
    assert one.rounds > 0
    assert one.low is None or one.high is None or one.low <= one.ratio <= one.high
    assert one.verdict in (pairs.FASTER, pairs.SLOWER, pairs.SAME, pairs.INCONCLUSIVE)
    assert [Path(item.path).name for item in report.profiles] == ["tiny.onnx", "tiny.tflite"]
    for item in report.profiles:
        assert [turn.round for turn in item.turns] == sorted({turn.round for turn in item.turns})
        assert all((turn.sentinel_ns or 0) > 0 for turn in item.turns)
    assert set(report.devices[0].fingerprint) >= {"cpu", "cores", "python"}


def subject(number: int, name: str, quantization: str, error: MeasurementError | None = None) -> Subject:
    return Subject(File(Path(name), facts={"quantization": quantization}), 1, number, error=error)


def test_the_baseline_is_the_first_float_file_that_runs() -> None:
    broken = subject(0, "broken.tflite", "float32", MeasurementError("it is broken"))
    small, large = subject(1, "m.int8.tflite", "int8"), subject(2, "m.tflite", "float32")
    versus = Versus(None)
    twin = versus.choose([broken, small, large])
    assert versus.baseline is large
    assert (twin.file, twin.number) == (large.file, 3)
    assert versus.baseline is not twin
    quantized = Versus(None)
    quantized.choose([broken, small])
    assert quantized.baseline is small
    named = Versus(Path("m.int8.tflite"))
    named.choose([broken, small, large])
    assert named.baseline is small
    for nothing in (Versus(None), Versus(Path("broken.tflite"))):
        with pytest.raises(MeasurementError, match="no baseline to compare with"):
            nothing.choose([broken])


def test_a_baseline_that_is_not_among_the_files() -> None:
    named = compare([MODELS / "tiny.tflite"], baseline=MODELS / "tiny.onnx", measuring=QUICK)
    assert [Path(one.baseline).name for one in named.comparisons] == ["tiny.onnx"]
    assert len(named.profiles) == 2


def test_numbers_of_threads_are_files_of_their_own() -> None:
    report = compare([MODELS / "tiny.onnx"], measuring=replace(QUICK, threads=(1, 2)))
    (one,) = report.comparisons
    assert (one.baseline_threads, one.threads) == (1, 2)
    assert [item.threads for item in report.profiles] == [1, 2]


def test_a_baseline_that_does_not_run(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((MODELS / "tiny.tflite").read_bytes()[:2000])
    report = compare([damaged, MODELS / "tiny.onnx"], baseline=damaged, measuring=QUICK)
    assert [failure.what for failure in report.failures] == [str(damaged)]
    assert [one.verdict for one in report.comparisons] == [pairs.INCONCLUSIVE]
    source = tmp_path / "source.pt"
    source.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(MeasurementError, match="no baseline"):
        compare([source, MODELS / "tiny.onnx"], baseline=source, measuring=QUICK)


def test_one_that_dies_costs_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AgentSession.time
    turns: list[int] = []

    def dying(self: AgentSession, discard: int, count: int) -> Mapping[str, Any]:
        if self.path.name == "tiny.pte":
            turns.append(1)
            if len(turns) == 12:
                self.process.kill()
        return plain(self, discard, count)

    monkeypatch.setattr(AgentSession, "time", dying)
    files = [MODELS / name for name in ("tiny.tflite", "tiny.onnx", "tiny.pte")]
    report = compare(files, measuring=QUICK)
    assert [Path(failure.what).name for failure in report.failures] == ["tiny.pte"]
    assert "killed" in report.failures[0].message.lower()
    assert [Path(one.path).name for one in report.comparisons] == ["tiny.onnx"]


def test_the_command() -> None:
    shown = typed(MODELS / "tiny.tflite", MODELS / "tiny.onnx", "--budget", "1", "--threads", "1,2", "--quiet")
    assert shown.exit_code == 0, shown.output
    assert shown.return_value == 0
    for text in ("against the baseline", "time ratio", "95% CI", "Baseline: tiny.tflite", "threads"):
        assert text in shown.stdout
    found = json.loads(typed(MODELS / "tiny.tflite", MODELS / "tiny.onnx", "--quick", "--quiet", "--json").stdout)
    assert [Path(one["path"]).name for one in found["comparisons"]] == ["tiny.onnx"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "no list of whole numbers"),
        (["--threads", "1,x"], "no list of whole numbers"),
        (["--quick", "--budget", "3"], "--quick is a budget"),
        (["--baseline", "none.tflite"], "none.tflite"),
    ],
)
def test_wrong_options(arguments: list[str], said: str) -> None:
    result = typed(MODELS / "tiny.tflite", *arguments)
    assert said in str(result.exception)


def run(
    name: str, p50: float, *, sentinel: float = 1e5, cpu: str = "one", runtime: str = "LiteRT 2", spread: float = 0.01
) -> Report:
    figure = Measurement("latency_p50_ns", p50, "ns", False, p50 * (1 - spread), p50 * (1 + spread), "", 300)
    turns = tuple(Turn(number, (int(p50),), (False,), sentinel) for number in range(40))
    item = Profile(f"x/{name}", "tflite", "s", "i", runtime, 1, (figure,), turns=turns)
    facts = DeviceFacts("host", "Linux", "x86_64", cpu, 2, 1, "3.11", 0.0)
    return Report(command="edgekit profile", profiles=(item,), devices=(Place("host", facts, {"cpu": cpu}),))


def save(folder: Path, **reports: Report) -> list[Path]:
    paths = []
    for name, report in reports.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(to_json(report)))
    return paths


def test_saved_runs(tmp_path: Path) -> None:
    (one,) = compare_saved(save(tmp_path, before=run("m.tflite", 1e6), after=run("m.tflite", 5e5))).comparisons
    assert (one.path, one.baseline) == ("after/m.tflite", "before/m.tflite")
    assert one.verdict == pairs.FASTER
    assert one.ratio == pytest.approx(0.5)
    assert one.floor_ratio == SEQUENTIAL_FLOOR


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        (run("m.tflite", 1.1e6), pairs.SAME),  # runs at different times differ by as much
        (run("m.tflite", 1.3e6), pairs.SLOWER),
        (run("m.tflite", 1.3e6, sentinel=1.4e5), pairs.SAME),  # the processor itself was slower
        (run("m.tflite", 1.3e6, spread=0.5), pairs.INCONCLUSIVE),
    ],
)
def test_saved_runs_did_not_take_turns(tmp_path: Path, later: Report, verdict: str) -> None:
    (one,) = compare_saved(save(tmp_path, before=run("m.tflite", 1e6), after=later)).comparisons
    assert one.verdict == verdict


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (run("m.tflite", 1e6, cpu="other"), "cpu: one and other"),
        (run("m.tflite", 1e6, runtime="LiteRT 3"), "runtime of m.tflite: LiteRT 2 and LiteRT 3"),
        (run("n.tflite", 1e6), "none of the files"),
        (replace(run("m.tflite", 1e6), profiles=()), "holds no measured file"),
        (replace(run("m.tflite", 1e6), schema_version=99), "schema version 99"),
    ],
)
def test_saved_runs_that_are_not_compared(tmp_path: Path, later: Report, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare_saved(save(tmp_path, before=run("m.tflite", 1e6), after=later))


def test_what_is_no_saved_run(tmp_path: Path) -> None:
    (good,) = save(tmp_path, good=run("m.tflite", 1e6))
    for number, content in enumerate(["[]", "{", '{"schema_version": 2, "profiles": 3}', "\x00\xff"]):
        bad = tmp_path / f"bad{number}.json"
        bad.write_text(content)
        with pytest.raises(UsageError, match="no saved run"):
            compare_saved([good, bad])
    with pytest.raises(UsageError, match="cannot be compared"):
        compare_saved([good])
    with pytest.raises(UsageError, match="no such file"):
        compare_saved([good, tmp_path / "missing.json"])
    mixed = typed(good, MODELS / "tiny.tflite")
    assert "with saved runs" in str(mixed.exception)


def test_a_real_run_and_a_copy_of_it(tmp_path: Path) -> None:
    before, after = save(tmp_path, before=profile([MODELS / "tiny.onnx"], measuring=QUICK), after=Report("x"))
    shutil.copyfile(before, after)
    shown = typed(before, after)
    assert shown.exit_code == 0, shown.exception
    assert "Runs made at different times" in shown.stdout
    assert "no difference shown" in shown.stdout or "inconclusive" in shown.stdout


def on_device(report: Report, name: str, *, cpu: str, emulated: bool = False) -> Report:
    facts = DeviceFacts(name, "Linux", "aarch64", cpu, 4, 1, "3.11", 0.0, emulated)
    profiles = tuple(replace(item, device=name, runtime="LiteRT 3") for item in report.profiles)
    return replace(report, profiles=profiles, devices=(Place(name, facts, {"cpu": cpu}),))


def test_saved_runs_of_two_devices_are_compared_file_by_file(tmp_path: Path) -> None:
    paths = save(tmp_path, host=run("m.tflite", 1e6), pi=on_device(run("m.tflite", 5e6), "pi", cpu="another"))
    report = compare_saved(paths)
    (found,) = report.comparisons
    assert (found.device, found.baseline_device, found.verdict) == ("pi", "host", "slower")
    assert found.ratio == pytest.approx(5)
    assert [place.name for place in report.devices] == ["host", "pi"]
    assert any("LiteRT 2 on host, LiteRT 3 on pi" in note for note in report.notes)


def test_times_of_an_emulated_device_have_no_verdict(tmp_path: Path) -> None:
    paths = save(tmp_path, host=run("m.tflite", 1e6), pi=on_device(run("m.tflite", 5e6), "pi", cpu="x", emulated=True))
    (found,) = compare_saved(paths).comparisons
    assert found.verdict == "inconclusive"
    assert "emulated" in found.reason


def test_one_device_under_two_conditions_is_refused(tmp_path: Path) -> None:
    first, second = (on_device(run("m.tflite", 1e6), "pi", cpu=cpu) for cpu in ("one", "two"))
    with pytest.raises(UsageError, match="cpu: one and two"):
        compare_saved(save(tmp_path, first=first, second=second))
