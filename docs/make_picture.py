"""Puts the result of a demo into README.md and docs/demo.svg.

    edgekit demo --json > build/demo.json
    python docs/make_picture.py build/demo.json

Every figure in the two comes from that file; ``make picture`` runs both commands.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from edgekit.cli.demo import cells, conditions
from edgekit.report.units import TIMES, digits, unit_for
from edgekit.types import Measurement, Profile, Report, from_json

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- demo -->", "<!-- /demo -->"

WIDTH, TOP, ROW, BAR = 860, 64, 30, 16
LABEL_X, SIZE_X, TIME_X, PANEL = 24, 200, 460, 190
SQNR_X, ACCURACY_X = 745, 836
COLOURS = {"float32": "#9fb3c8", "float16": "#627d98", "int8": "#2f80ed", "int8-dynamic": "#56ccf2"}
TITLES = {"tflite": "TFLite", "onnx": "ONNX", "executorch": "ExecuTorch"}


def markdown(report: Report) -> str:
    """The table of the README, and the conditions below it."""
    titles, *lines = cells(report)
    titles = tuple(title.replace("\n", ", ") for title in titles)
    rule = ("---", *("--:" for _ in titles[1:]))
    table = "\n".join(f"| {' | '.join(line)} |" for line in (titles, rule, *lines))
    return f"{table}\n\n{' '.join(conditions(report))}"


def replace_block(page: str, block: str) -> str:
    """The page with what stands between the two comments replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{README}: {BEGIN} … {END} is missing")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def picture(report: Report) -> str:
    """Bars of size and time, one row per file; SQNR and accuracy in figures."""
    order = list(TITLES)
    profiles = sorted(report.profiles, key=lambda item: (order.index(item.target), _scheme(item)))
    medians = [figure(item, "latency_p50_ns") for item in profiles]
    unit, unit_ns = unit_for([one.value or 0.0 for one in medians], TIMES)
    height = TOP + ROW * len(profiles) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        text(LABEL_X, 30, "One network, one command, twelve files", size=16, weight=600),
        text(SIZE_X, 54, "size, kB", grey=True),
        text(TIME_X, 54, f"median time of one picture, {unit}", grey=True),
        text(SQNR_X, 54, "SQNR, dB", grey=True, anchor="end"),
        text(ACCURACY_X, 54, "accuracy", grey=True, anchor="end"),
    ]
    longest_size = max(figure(item, "size_bytes").value or 0.0 for item in profiles)
    longest_time = max(one.high or one.value or 0.0 for one in medians)
    for index, (item, median) in enumerate(zip(profiles, medians, strict=True)):
        y = TOP + ROW * index + (index // len(COLOURS)) * 4
        size_bytes = figure(item, "size_bytes").value or 0.0
        accuracy = 100 * (figure(item, "accuracy").value or 0.0)
        parts += [
            text(LABEL_X, y + 13, f"{TITLES[item.target]} {_scheme(item)}"),
            *bar(SIZE_X, y, size_bytes / longest_size, _scheme(item), digits(size_bytes / 1000)),
            *bar(TIME_X, y, (median.value or 0.0) / longest_time, _scheme(item), "", median, longest_time),
            text(TIME_X + PANEL + 8, y + 13, digits((median.value or 0.0) / unit_ns), grey=True),
            text(SQNR_X, y + 13, _sqnr(item), anchor="end"),
            text(ACCURACY_X, y + 13, f"{accuracy:.2f} %", anchor="end"),
        ]
    parts.append(
        text(
            LABEL_X,
            height - 14,
            f"Whiskers: 95% CI of the median. {conditions(report)[1]}",
            size=11,
            grey=True,
        )
    )
    return "\n".join([*parts, "</svg>", ""])


def bar(
    x: float,
    y: float,
    share: float,
    scheme: str,
    label: str,
    median: Measurement | None = None,
    longest: float = 1.0,
) -> Sequence[str]:
    """A bar with its label behind it, and a whisker for the confidence interval of a measurement."""
    length = max(1.0, share * PANEL)
    parts = [f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{COLOURS[scheme]}"/>']
    if label:
        parts.append(text(x + length + 8, y + 13, label, grey=True))
    if median is not None and median.low is not None and median.high is not None:
        low, high = (x + PANEL * value / longest for value in (median.low, median.high))
        middle = y + BAR / 2
        path = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
        parts.append(f'<path d="{path}" stroke="#243b53" fill="none"/>')
    return parts


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 13,
    weight: int = 400,
    grey: bool = False,
    anchor: str = "start",
) -> str:
    """A line of text."""
    colour = "#627d98" if grey else "#102a43"
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )


def figure(item: Profile, metric: str) -> Measurement:
    """One figure of a file; a demo without it is no picture for the README."""
    for one in item.measurements:
        if one.metric == metric and one.value is not None:
            return one
    sys.exit(f"{item.path}: no {metric}")


def _scheme(item: Profile) -> str:
    return Path(item.path).name.split(".")[-2]


def _sqnr(item: Profile) -> str:
    known = [drift.sqnr_db for drift in item.drift if drift.sqnr_db is not None]
    return f"{min(known):.1f}" if known else "identical"


def main() -> None:
    """Read a report, write both files."""
    report = from_json(Report, json.loads(Path(sys.argv[1]).read_text()))
    if report.failures or not report.profiles:
        sys.exit(f"{sys.argv[1]}: this demo did not go through")
    (HERE / "demo.svg").write_text(picture(report))
    README.write_text(replace_block(README.read_text(), markdown(report)))


if __name__ == "__main__":
    main()
