"""The page put together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.harmless import harmless
from edgekit.report.html._colours import VARIANTS, sheet, swatches
from edgekit.report.html._details import details
from edgekit.report.html._packed import cleaned, packed, raw_data
from edgekit.report.html._places import conditions, places
from edgekit.report.html._table import columns
from edgekit.report.html._view import View, view_of
from edgekit.report.html.charts import Chart, all_charts
from edgekit.summary_types import Summary
from edgekit.types import Report

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_DRAWN = len(VARIANTS)

_MOST_NAMES = 3
_MOST_MIXED = 4

MOST_BYTES = 1_900_000
"""That the page may take, as far as raw data can make room for that."""


@dataclass(frozen=True)
class Shot:
    """A picture of a sample, and which files got it wrong that the reference had right."""

    png: str
    sample: int
    label: str
    width: int
    height: int
    wrong: tuple[str, ...]


def page(report: Report, summary: Summary) -> str:
    """See :func:`edgekit.report.html.render`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    view = view_of(report, summary)
    charts = all_charts(view)
    library, script = _library(), (_TEMPLATES / "page.js").read_text()
    given: dict[str, Any] = {
        "view": view,
        "report": report,
        "summary": summary,
        "title": _title(view),
        "columns": columns(view),
        "filters": _filters(view),
        "charts": charts,
        "most_drawn": _MOST_DRAWN,
        "shots": _shots(view),
        "details": details(view),
        "most_mixed": _MOST_MIXED,
        "places": places(report),
        "conditions": conditions(report),
        "versions": _versions(),
        "data": "",
        "data_note": "",
        "payload": packed(json.dumps(cleaned(_payload(view, charts)), separators=(",", ":"))) if charts else "",
        "library": packed(library) if charts else "",
        "script": Markup(script),  # noqa: S704 - ours
        "style": Markup(_style()),  # noqa: S704 - ours
        "policy": _policy([script, library] if charts else [script]),
    }
    template = environment.get_template("page.html.j2")
    room = MOST_BYTES - len(template.render(given).encode())
    data, note = raw_data(report, room)
    return template.render({**given, "data": data, "data_note": note})


def _shown(value: Any) -> Any:
    """Text from elsewhere, without what turns the direction of writing or is not seen."""
    from markupsafe import Markup

    return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _title(view: View) -> str:
    names = [one.variant.name for one in view.entries]
    if view.report.source:
        return Path(view.report.source).name
    return names[0] if len(set(names)) == 1 else f"{len(names)} variants" if names else "nothing was measured"


def _filters(view: View) -> dict[str, list[str]]:
    """What rows can be chosen by, where there is a choice."""
    found = {
        name: list(dict.fromkeys(str(getattr(one.variant, name)) for one in view.entries))
        for name in ("target", "scheme", "device")
    }
    return {name: values for name, values in found.items() if len(values) > 1}


def _payload(view: View, charts: list[Chart]) -> dict[str, Any]:
    return {
        "variants": [one.variant.key for one in view.entries],
        "drawn": _drawn(view),
        "colours": [light for light, _ in VARIANTS],
        "charts": [{"name": one.name, "spec": one.spec, "rows": one.rows} for one in charts],
    }


def _drawn(view: View) -> list[int]:
    """Places of those drawn at first: the best, and always what they are compared with."""
    found = [one.place for one in view.entries][:_MOST_DRAWN]
    base = next((one.place for one in view.entries if one.variant.baseline), None)
    return found if base is None or base in found else [*found[:-1], base]


def _shots(view: View) -> list[Shot]:
    """Pictures, each once, with the files that broke them."""
    broken: dict[str, set[int]] = {}
    for entry in view.entries:
        if entry.drift is not None and entry.drift.task is not None and entry.drift.task.flips is not None:
            broken.setdefault(entry.variant.name, set()).update(entry.drift.task.flips.broken_samples)
    return [
        Shot(one.png, one.sample, one.label, one.width, one.height,
             _few([name for name, samples in broken.items() if one.sample in samples]))
        for one in view.report.thumbnails
    ]  # fmt: skip


def _few(names: list[str]) -> tuple[str, ...]:
    left = len(names) - _MOST_NAMES
    return (*names[:_MOST_NAMES], f"{left} others") if left > 1 else tuple(names)


def _versions() -> Mapping[str, str]:
    return {name: version(name) for name in ("edgekit", "vl-convert-python", "Jinja2")}


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the installed package."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _style() -> str:
    dark = sheet(':root[data-theme="dark"]')
    by_system = sheet(':root:not([data-theme="light"])')
    style = (_TEMPLATES / "page.css").read_text()
    return f"{style}\n{swatches()}\n@media screen{{{dark}\n@media (prefers-color-scheme: dark){{{by_system}}}}}"


def _policy(scripts: list[str]) -> str:
    """What the browser may do: run exactly these scripts, and show pictures that are in the page."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
