"""How large an HTML report is, and how soon a browser has it drawn.

    python benchmarks/report_size.py [--variants 1,12,60] [--rounds 5] [--runs 2000] [--layers 60] [--json FILE]

Reports are made up (``tests/report_samples.py``): each file with so many timed runs, so many layers and operators, and
47 figures. Each round opens every page in a new tab of headless Chromium, in a new order: *shown* is when its tables
are there (the load event), *drawn* is when its last chart is. Limits, for 60 variants: 2 MB, and 2 s until shown. Exit
code 1 when one is missed, 2 when there is no Chromium.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _measure import median_and_range

from edgekit.report.html import render
from edgekit.summary import summarize

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from report_samples import report_of

MOST_BYTES = 2_000_000
MOST_S = 2.0
LINE = "{:>8} {:>10} {:>10} {:>22} {:>22}"


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="1,12,60")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--json", type=Path)
    typed = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("There is no Chromium here (Debian: apt-get install chromium).", file=sys.stderr)
        return 2
    counts = [int(part) for part in typed.variants.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        made = {count: _make(Path(folder), count, typed.runs, typed.layers) for count in counts}
        shown, drawn = _opened(chromium, {count: path for count, (path, _) in made.items()}, typed.rounds)
        sizes = {count: path.stat().st_size for count, (path, _) in made.items()}
    print(LINE.format("variants", "kB", "made, s", "shown, s", "drawn, s"))
    for count in counts:
        times = (median_and_range(shown[count]), median_and_range(drawn[count]))
        print(LINE.format(count, f"{sizes[count] / 1000:.0f}", f"{made[count][1]:.2f}", *times))
    if typed.json:
        found = {count: {"bytes": sizes[count], "shown_s": shown[count], "drawn_s": drawn[count]} for count in counts}
        typed.json.write_text(json.dumps(found, indent=2))
    middle = {count: sorted(times)[len(times) // 2] for count, times in shown.items()}
    return int(any(sizes[count] > MOST_BYTES or middle[count] > MOST_S for count in counts if count <= 60))


def _make(folder: Path, count: int, runs: int, layers: int) -> tuple[Path, float]:
    """A page of so many variants, and what rendering it took."""
    report = report_of(count, runs=runs, layers=layers, figures=40)
    start = time.monotonic()
    text = render(report, summarize(report))
    took = time.monotonic() - start
    path = folder / f"{count}.html"
    path.write_text(text, encoding="utf-8")
    return path, took


def _opened(
    chromium: str, pages: dict[int, Path], rounds: int
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Seconds until each page was shown, and drawn, per round."""
    from playwright.sync_api import sync_playwright

    shown: dict[int, list[float]] = {count: [] for count in pages}
    drawn: dict[int, list[float]] = {count: [] for count in pages}
    order = list(pages)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(rounds):
            random.shuffle(order)
            for count in order:
                page = browser.new_page()
                start = time.monotonic()
                page.goto(pages[count].as_uri())
                shown[count].append(time.monotonic() - start)
                page.wait_for_selector("html[data-drawn]", state="attached")
                drawn[count].append(time.monotonic() - start)
                page.close()
        browser.close()
    return shown, drawn


if __name__ == "__main__":
    sys.exit(main())
