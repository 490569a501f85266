"""The HTML report as text: what is in it, that it is harmless, and that it stays small."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import pytest
from report_samples import report_of

from edgekit.report.html import render
from edgekit.report.html._colours import INK, TYPES, VARIANTS
from edgekit.report.html._details import confusion
from edgekit.report.html._page import MOST_BYTES
from edgekit.summary import summarize
from edgekit.types import Measurement, NodeWork, Report, from_json

pytest.importorskip("jinja2", reason="the HTML report needs Jinja2 (edgekit[report])")
pytest.importorskip("vl_convert", reason="the HTML report needs vl-convert-python (edgekit[report])")

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "a,b;$(id)|`id`\nnext",
    "__proto__",
    "not utf-8 \udcff",
)


class Page(HTMLParser):
    """Elements, and what scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._script: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.words.append(data)
        else:
            self.scripts.append((self._script, data))

    def packed(self, name: str) -> str:
        text = next(text for attributes, text in self.scripts if attributes.get("id") == name)
        return gzip.decompress(base64.b64decode(text)).decode()


def page_of(report: Report) -> Page:
    return Page(render(report, summarize(report)))


def test_the_finding_comes_before_every_table() -> None:
    report = report_of(6)
    summary = summarize(report)

    text = render(report, summary)

    assert summary.finding
    assert text.index(summary.finding) < text.index("<table")


def test_raw_data_is_the_report() -> None:
    report = report_of(3)

    data = json.loads(page_of(report).packed("raw"))

    assert from_json(Report, data) == replace(report, thumbnails=())


def test_nothing_is_fetched_and_only_known_scripts_run() -> None:
    page = page_of(report_of(3))
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    ours = [text for attrs, text in page.scripts if attrs.get("type") != "application/gzip"]

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert len(ours) == 1
    for script in (ours[0], page.packed("library")):
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    addresses = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if attrs.get(name)]
    assert all(str(one).startswith(("#", "data:")) for one in addresses)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name: str) -> None:
    plain = page_of(report_of(3))
    report = report_of(3, name=name, label=name, device=name)
    report = replace(report, source=name, notes=(name,), data={name: name})

    page = page_of(report)

    scripts = [(attrs, "" if "id" in attrs else text) for attrs, text in page.scripts]
    assert scripts == [(attrs, "" if "id" in attrs else text) for attrs, text in plain.scripts]
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not [attrs for _, attrs in page.tags if any(one.startswith("on") for one in attrs)]
    shown = "".join(page.words) + page.packed("payload")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert json.loads(page.packed("raw"))["source"] == name


def test_a_template_in_a_name_is_not_run() -> None:
    report = report_of(2, name="{{ 7 * 7 }}")

    assert "49.int8" not in render(report, summarize(report))


def test_charts_with_nothing_to_show_are_not_there() -> None:
    names = {one["name"] for one in _payload(report_of(4))["charts"]}
    bare = {one["name"] for one in _payload(report_of(4, sustained=False, reference=False))["charts"]}

    assert {"latency-0", "tradeoff-0", "size", "operators", "layers-0", "sustained-0"} <= names
    assert bare == {"latency-0", "size", "operators"}


def test_times_of_an_emulated_device_are_not_drawn() -> None:
    report = report_of(4)
    place = report.devices[0]
    emulated = replace(place, facts=replace(place.facts, emulated=True))

    names = {one["name"] for one in _payload(replace(report, devices=(emulated,)))["charts"]}

    assert names == {"size", "layers-0", "layers-1", "layers-2"}


def test_every_chart_has_titles_on_its_axes() -> None:
    for chart in _payload(report_of(4))["charts"]:
        axes = [axis for axis in _axes(chart["spec"]) if axis["type"] == "quantitative"]
        assert axes, chart["name"]
        assert all(axis["title"] for axis in axes), chart["name"]


def test_weights_that_two_operators_read_count_once() -> None:
    report = report_of(1)
    stored = 40_000
    work = (
        NodeWork("DEQUANTIZE", "0:0", 0, stored, 0),
        NodeWork("CONV_2D", "0:1", 1000, stored, 100),
        NodeWork("RESHAPE", "0:2", 0, 16, 0),
    )
    figures = {"size_bytes": 50_000.0, "weights_bytes": stored + 16.0}
    taken = tuple(Measurement(name, value, "bytes", False) for name, value in figures.items())
    report = replace(report, profiles=(replace(report.profiles[0], work=work, measurements=taken),))

    chart = next(one for one in _payload(report)["charts"] if one["name"] == "size")

    found = {row["type"]: row["value"] for row in chart["rows"]}
    assert found == pytest.approx({"CONV_2D": 40.0, "RESHAPE": 0.016, "file around the weights": 9.984})


def test_the_baseline_is_drawn_among_many() -> None:
    report = report_of(40)
    summary = summarize(report)

    payload = json.loads(Page(render(report, summary)).packed("payload"))

    assert len(payload["drawn"]) == len(VARIANTS)
    assert summary.baseline in [payload["variants"][place] for place in payload["drawn"]]


def test_sixty_variants_stay_under_two_megabytes_and_say_what_was_rounded() -> None:
    report = report_of(60, runs=2000, layers=60, figures=40)

    text = render(report, summarize(report))

    assert len(text.encode()) <= MOST_BYTES
    assert "is rounded to 3 digits" in text
    rounded = from_json(Report, json.loads(Page(text).packed("raw")))
    first, kept = report.profiles[0].turns[0].ns[0], rounded.profiles[0].turns[0].ns[0]
    assert kept == pytest.approx(first, rel=0.005)
    assert rounded.profiles[0].measurements == report.profiles[0].measurements


def test_a_report_of_nothing_is_a_page() -> None:
    report = Report("edgekit compare", notes=("Nothing could be measured.",))

    text = render(report, summarize(report))

    assert "Nothing could be measured." in text
    assert "<table id" not in text


def test_classes_beyond_those_that_fit_are_left_out_and_counted() -> None:
    task = report_of(1, classes=100).drifts[0].task
    assert task is not None
    assert task.flips is not None

    found = confusion(task.flips, task)

    assert found is not None
    assert len(found.names) == 20
    assert {"3", "5", "8", "2"} <= set(found.names)
    assert "80 others" in found.note


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_told_apart_and_seen(dark: bool) -> None:
    ground = INK[-1][dark]
    for colours, least in ((VARIANTS, 14.0), (TYPES, 9.0)):
        shown = [pair[dark] for pair in colours]
        assert min(_distance(one, other) for one, other in combinations(shown, 2)) >= least
    assert min(_contrast(pair[dark], ground) for pair in VARIANTS) >= 2.2
    assert _contrast(INK[0][dark], ground) >= 7
    assert _contrast(INK[1][dark], ground) >= 4.5


def test_no_two_colours_for_light_pages_are_the_same() -> None:
    light = [pair[0] for pair in (*VARIANTS, *TYPES, *INK)]

    assert len(set(light)) == len(light)


def _payload(report: Report) -> Any:
    return json.loads(page_of(report).packed("payload"))


def _axes(spec: Any) -> list[dict[str, Any]]:
    found = [spec["encoding"][name] for name in ("x", "y") if name in spec.get("encoding", {})]
    return found + [axis for layer in spec.get("layer", ()) for axis in _axes(layer)]


def _linear(colour: str) -> list[float]:
    parts = [int(two, 16) / 255 for two in re.findall("..", colour.lstrip("#"))]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _contrast(one: str, other: str) -> float:
    """As WCAG 2.1 has it."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), _linear(colour), strict=True))


def _lab(colour: str) -> tuple[float, float, float]:
    """CIELAB under D65."""
    red, green, blue = _linear(colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    a, b, c = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * b - 16, 500 * (a - b), 200 * (b - c)


def _distance(one: str, other: str) -> float:
    return sum((a - b) ** 2 for a, b in zip(_lab(one), _lab(other), strict=True)) ** 0.5
