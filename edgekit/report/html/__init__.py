"""A report as one page that needs nothing but a browser."""

from __future__ import annotations

from edgekit.summary_types import Summary
from edgekit.types import Report

PACKAGES = ("jinja2", "vl_convert")
EXTRA = "report"
"""That installs them."""


def render(report: Report, summary: Summary) -> str:
    """The page.

    It holds all that it needs: style, charts, the library that draws them, and the report's raw data. It asks for
    nothing from any network, and its content security policy has the browser see to that, and to it that no script
    runs but those of edgekit and of the library.

    Args:
        report: Of ``edgekit compare`` or ``edgekit profile``.
        summary: Of that report.

    Returns:
        HTML, to write in UTF-8.

    Raises:
        MissingDependencyError: Jinja2 or vl-convert-python is not installed.
    """
    from edgekit import registry

    registry.require(PACKAGES, EXTRA, "An HTML report")
    from edgekit.report.html._page import page

    return page(report, summary)
