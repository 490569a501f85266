"""The HTML report in Chromium, offline, on a desktop and on a phone, light and dark.

``EDGEKIT_SCREENSHOTS=FOLDER`` keeps pictures of what was tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_samples import report_of

from edgekit.report.html import render
from edgekit.summary import summarize
from edgekit.types import Report

pytest.importorskip("jinja2", reason="the HTML report needs Jinja2 (edgekit[report])")
pytest.importorskip("vl_convert", reason="the HTML report needs vl-convert-python (edgekit[report])")
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven with playwright (edgekit[dev])")

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

DESKTOP, PHONE = (1280, 800), (360, 740)
PAPER = 703
"""A4 between margins of 12 mm, in CSS pixels."""
DRAWN_MS = 60_000

Open = Callable[..., "Shown"]


class Shown:
    """A page in the browser, and what it said and asked for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        self.address = path.as_uri()
        page.goto(self.address)
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=DRAWN_MS)

    def quiet(self) -> bool:
        """Whether nothing was said, and nothing but the file was asked for."""
        return not self.said and all(one == self.address or one.startswith(("data:", "blob:")) for one in self.asked)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.page.locator(selector).all_inner_texts()
        return [one.strip() for one in found]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Open]:
    contexts = []

    def show(report: Report, size: tuple[int, int] = DESKTOP, colours: str = "light") -> Shown:
        path = tmp_path / "report.html"
        path.write_text(render(report, summarize(report)), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=colours, offline=True, accept_downloads=True
        )
        contexts.append(context)
        found = Shown(context.new_page(), path)
        if folder := os.environ.get("EDGEKIT_SCREENSHOTS"):
            name = f"report-{len(report.profiles)}-{size[0]}-{colours}.png"
            found.page.screenshot(path=str(Path(folder) / name), full_page=True)
        return found

    yield show
    for context in contexts:
        context.close()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("variants", [1, 12])
def test_every_chart_is_drawn_and_nothing_overflows(
    shown: Open, variants: int, size: tuple[int, int], colours: str
) -> None:
    opened = shown(report_of(variants), size, colours)

    assert opened.quiet(), (opened.said, opened.asked)
    marks = opened.page.evaluate(
        """() => [...document.querySelectorAll(".chart")].map((one) => [one.id,
             one.querySelectorAll('svg .mark-rect path, svg .mark-symbol path').length])"""
    )
    assert len(marks) >= 6
    assert all(count > 0 for _, count in marks), marks
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_columns_sort_both_ways(shown: Open) -> None:
    opened = shown(report_of(12))
    heads = opened.texts("#table thead th")
    column = next(place for place, text in enumerate(heads) if text.startswith("median time"))
    cells = f"#table tbody tr > :nth-child({column + 1}) .value"

    opened.page.locator("#table thead th button").nth(column).click()
    rising = [float(text) for text in opened.texts(cells)]
    opened.page.locator("#table thead th button").nth(column).click()
    falling = [float(text) for text in opened.texts(cells)]

    assert rising == sorted(rising)
    assert falling == rising[::-1]
    assert len(set(rising)) > 1
    assert opened.page.locator('#table th[aria-sort="descending"]').count() == 1


def test_a_phone_sorts_too(shown: Open) -> None:
    opened = shown(report_of(6), PHONE)

    opened.page.locator("#sort").select_option(label="file, falling")

    names = opened.texts("#table tbody th a")
    assert names == sorted(names, key=_natural, reverse=True)


def test_rows_are_found_by_name_and_by_target(shown: Open) -> None:
    opened = shown(report_of(12))

    opened.page.locator('select[data-by="target"]').select_option("onnx")
    assert {text.rsplit(".", 1)[1] for text in opened.texts("#table tbody tr:visible th a")} == {"onnx"}
    assert opened.texts("#shown") == ["4 of 12"]
    opened.page.locator("#find").fill("int8-1.")
    assert opened.texts("#table tbody tr:visible th a") == ["model.int8-1.onnx"]


def test_details_fold_and_a_link_opens_them(shown: Open) -> None:
    opened = shown(report_of(3))
    detail = opened.page.locator("#file-1")

    assert not detail.evaluate("one => one.open")
    opened.page.locator('#table a[href="#file-1"]').click()
    sync_api.expect(detail).to_have_attribute("open", "")
    detail.locator("summary").first.click()
    assert not detail.evaluate("one => one.open")


def test_files_leave_charts_and_keep_their_colours(shown: Open) -> None:
    opened = shown(report_of(14))
    kept = _colour(opened, 2)
    assert opened.texts("#count") == ["12 of 14"]

    opened.page.locator("#chooser summary").click()
    opened.page.locator("#choices input").nth(1).uncheck()
    sync_api.expect(opened.page.locator("#chart-latency-0 .mark-symbol path")).to_have_count(11)

    assert opened.texts("#count") == ["11 of 14"]
    assert _colour(opened, 2) == kept
    assert opened.quiet(), opened.said


def test_a_chart_without_a_chosen_file_says_so(shown: Open) -> None:
    opened = shown(report_of(12))
    whole = opened.page.evaluate("document.documentElement.scrollHeight")

    for label in opened.page.locator("#choices label").all():
        if not label.inner_text().strip().endswith(".tflite"):
            label.locator("input").click()
    sync_api.expect(opened.page.locator(".chart svg.marks")).to_have_count(7, timeout=DRAWN_MS)

    assert opened.page.evaluate("document.documentElement.scrollHeight") < whole
    words = [text for text in opened.texts(".chart") if text.startswith("None of the chosen files")]
    assert len(words) == 2, "of the layers of the two other formats"
    assert opened.quiet(), opened.said

    for label in opened.page.locator("#choices label").all():
        label.locator("input").check()
    sync_api.expect(opened.page.locator(".chart svg.marks")).to_have_count(9, timeout=DRAWN_MS)
    assert opened.quiet(), opened.said


def test_the_button_changes_the_colours_of_the_page_and_of_what_is_drawn(shown: Open) -> None:
    opened = shown(report_of(3))
    before = _colours(opened)

    opened.page.locator("#theme").click()

    assert all(one != other for one, other in zip(before, _colours(opened), strict=True))


def test_paper_is_light_and_folds_nothing(shown: Open) -> None:
    light = _colours(shown(report_of(3)))
    opened = shown(report_of(3), colours="dark")
    assert _colours(opened) != light

    opened.page.emulate_media(media="print", color_scheme="dark")
    assert _colours(opened) == light
    opened.page.set_viewport_size({"width": PAPER, "height": 1000})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PAPER
    opened.page.pdf()
    assert opened.page.locator("details.file[open]").count() == 0


def test_the_report_can_be_downloaded(shown: Open) -> None:
    opened = shown(report_of(2))
    opened.page.locator("#download").evaluate("one => { one.closest('details').open = true; }")

    with opened.page.expect_download() as waiting:
        opened.page.locator("#download").click()

    assert json.loads(Path(waiting.value.path()).read_text())["command"] == "edgekit compare"
    assert opened.quiet(), (opened.said, opened.asked)


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "__proto__"])
def test_hostile_names_are_drawn_as_text(shown: Open, name: str) -> None:
    opened = shown(report_of(3, name=name, label=name))

    opened.page.locator("#chart-layers-0 .mark-symbol path").first.hover()
    opened.page.wait_for_selector("#vg-tooltip-element.visible")

    assert opened.quiet(), (opened.said, opened.asked)
    assert opened.page.locator("img:not([src^='data:'])").count() == 0
    assert name in opened.page.locator("#vg-tooltip-element").inner_text()


def test_tables_are_there_without_scripts(browser: Any, tmp_path: Path) -> None:
    report = report_of(3)
    path = tmp_path / "report.html"
    path.write_text(render(report, summarize(report)), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())

    assert page.locator("#table tbody tr").count() == 3
    assert page.locator("#filters").is_hidden()
    assert "Charts need JavaScript" in page.locator("noscript").inner_text()
    context.close()


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _colour(opened: Shown, place: int) -> str:
    found: str = (
        opened.page.locator("#choices .swatch").nth(place).evaluate("one => getComputedStyle(one).backgroundColor")
    )
    return found


def _colours(opened: Shown) -> list[str]:
    """Of the page's ground, of its text, of a point, and of the label of an axis."""
    found: list[str] = opened.page.evaluate(
        """() => [
             getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
             getComputedStyle(document.querySelector("#chart-latency-0 .mark-symbol path")).fill,
             getComputedStyle(document.querySelector("#chart-latency-0 .mark-text text")).fill]"""
    )
    return found
