from __future__ import annotations

from dataclasses import replace

from reports import comparison, drift, hostile, place, profile, usual
from rich.console import Console

from edgekit.report import summary_table
from edgekit.report.console import guarded
from edgekit.summary import summarize
from edgekit.types import Measurement, Profile, Report


def test_the_file_to_take_is_named_with_the_reasons() -> None:
    found = summarize(usual())
    assert found.recommended == "m.int8.tflite"
    assert found.finding == (
        "int8 TFLite (m.int8.tflite): 3.7 times smaller, 2.5 times as fast [2.5, 2.6], top1 not shown to differ."
    )
    assert found.judged_on == ("size", "latency", "accuracy")
    assert found.variants[0].name == "m.int8.tflite"
    assert found.baseline == "m.float32.tflite"


def test_only_what_nothing_else_beats_is_marked() -> None:
    marked = {one.name for one in summarize(usual()).variants if one.pareto}
    # The broken one is the smallest and fastest: it is on the line, and is not recommended.
    assert marked == {"m.int8.tflite", "m.fast.int8.tflite"}


def test_a_difference_that_is_not_shown_beats_nothing() -> None:
    report = usual()
    close = (comparison("m.int8.tflite", "m.float32.tflite", 0.995), *report.comparisons[1:])
    same = tuple(profile(one.path[7:], 100_000, 1e6) for one in report.profiles)
    found = summarize(replace(report, comparisons=close, profiles=same))
    by_name = {one.name: one for one in found.variants}
    assert by_name["m.float32.tflite"].pareto
    assert by_name["m.int8.tflite"].pareto


def test_without_data_nothing_is_recommended() -> None:
    found = summarize(replace(usual(), drifts=()))
    assert found.recommended == ""
    assert "--reference MODEL --data DATA" in found.finding


def test_nothing_is_recommended_that_loses() -> None:
    report = usual()
    worse = tuple(drift(one.path[7:], 20.0, -0.05, status="degraded") for one in report.drifts[1:])
    found = summarize(replace(report, drifts=(report.drifts[0], *worse)))
    assert found.recommended in ("", "m.float32.tflite")


def with_accuracy(report: Report, values: dict[str, float]) -> Report:
    def one(item: Profile) -> Profile:
        value = values[item.path[7:]]
        figure = Measurement("accuracy", value, "ratio", True, value - 0.01, value + 0.01)
        return replace(item, measurements=(*item.measurements, figure))

    return replace(report, drifts=(), profiles=tuple(map(one, report.profiles)))


def test_what_computes_something_else_beats_nothing() -> None:
    report = usual()
    drifts = [replace(one, task=None) for one in report.drifts]
    # Without labels, and with outputs that have no SQNR, size and time alone are known of all.
    drifts[2] = replace(drifts[2], outputs=(replace(drifts[2].outputs[0], sqnr_db=None, finding="not finite"),))
    found = summarize(replace(report, drifts=tuple(drifts)))
    assert found.judged_on == ("size", "latency")
    assert found.recommended == "m.int8.tflite"


def test_a_loss_that_is_shown_beats_nothing() -> None:
    report = usual()
    worse = tuple(drift(one.path[7:], 20.0, -0.005) for one in report.drifts[1:])
    found = summarize(replace(report, drifts=(report.drifts[0], *worse)))
    assert found.recommended == "m.float32.tflite"


def test_without_a_reference_accuracy_is_held_against_the_baseline() -> None:
    report = usual()
    values = dict.fromkeys((one.path[7:] for one in report.profiles), 0.95)
    found = summarize(with_accuracy(report, {**values, "m.fast.int8.tflite": 0.1}))
    assert found.recommended == "m.int8.tflite"
    words = {one.name: one.accuracy_words for one in found.variants}
    assert words["m.fast.int8.tflite"] == "worse"
    assert words["m.int8.tflite"] == "not shown to differ"
    alone = replace(with_accuracy(report, {**values, "m.fast.int8.tflite": 0.1}), comparisons=())
    assert summarize(alone).recommended == "m.int8.tflite"


def test_times_of_an_emulated_cpu_decide_nothing() -> None:
    found = summarize(replace(usual(), devices=(place(emulated=True),)))
    assert "latency" not in found.judged_on
    assert "means nothing on an emulated CPU" in found.finding


def test_one_file_alone() -> None:
    report = usual()
    found = summarize(Report("edgekit profile", profiles=report.profiles[1:2], devices=report.devices))
    assert found.recommended == ""
    assert found.finding == "int8 TFLite (m.int8.tflite): 27.0 kB, 400 µs for one run."


def test_files_of_several_devices_have_keys_of_their_own() -> None:
    report = usual()
    there = tuple(replace(one, device="pi") for one in report.profiles)
    found = summarize(replace(report, profiles=(*report.profiles, *there), devices=(place(), place("pi"))))
    assert len({one.key for one in found.variants}) == 8


def printed(report: Report, width: int = 80) -> str:
    console = guarded(Console(width=width, force_terminal=False, emoji=False, markup=False))
    with console.capture() as capture:
        summary_table.show(summarize(report), console)
    return capture.get()


def test_the_table_fits_80_columns() -> None:
    text = printed(usual())
    assert max(map(len, text.splitlines())) <= 80
    assert "3.7 times smaller" in text.replace("\n", " ")


def test_names_do_no_harm_on_a_terminal() -> None:
    text = printed(hostile(), 200)
    assert "\x1b" not in text
    assert "$(touch hurt)" in text
