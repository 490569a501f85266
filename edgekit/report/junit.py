"""``edgekit check`` as JUnit XML, which CI services read: a test case per file, device and budget.

A regression is a ``failure``; what could not be told is an ``error``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from edgekit.check_types import INCONCLUSIVE, REGRESSION, CheckReport, Judgement
from edgekit.harmless import harmless
from edgekit.report.budgets import figure_words, limit_words

_ELEMENTS = {REGRESSION: "failure", INCONCLUSIVE: "error"}


def junit(report: CheckReport) -> str:
    """The whole file as text, to be written as UTF-8."""
    counted = {name: sum(one.verdict == verdict for one in report.judgements) for verdict, name in _ELEMENTS.items()}
    numbers = {"tests": len(report.judgements), "failures": counted["failure"], "errors": counted["error"]}
    attributes = {"name": report.command, **{name: str(value) for name, value in numbers.items()}}
    root = ET.Element("testsuites", attributes)
    suite = ET.SubElement(root, "testsuite", attributes)
    for one in report.judgements:
        suite.append(_case(one))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(one: Judgement) -> ET.Element:
    case = ET.Element("testcase", {"classname": _clean(f"{one.model} on {one.device}"), "name": one.budget})
    said = f"{figure_words(one)}, limit {limit_words(one)}"
    if one.verdict in _ELEMENTS:
        message = _clean(": ".join(part for part in (said, one.reason) if part))
        found = ET.SubElement(case, _ELEMENTS[one.verdict], {"message": message, "type": one.verdict})
        found.text = _clean(one.hint)
    else:
        ET.SubElement(case, "system-out").text = _clean(said)
    return case


def _clean(text: str) -> str:
    """What XML 1.0 can hold; its own signs are escaped by the library."""
    return harmless(text)
