"""The JSON Schema of what ``--json`` prints, made from the dataclasses (``make schema`` writes the published file)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.types import SCHEMA_VERSION, Report

FILE = Path(__file__).with_name("report.schema.json")
"""The published one, draft 2020-12."""


def schema() -> dict[str, Any]:
    """Of :class:`edgekit.types.Report`, in this version; needs pydantic, as only who changes the types makes it."""
    from pydantic import TypeAdapter

    found = TypeAdapter(Report).json_schema(mode="serialization")
    found["title"] = f"edgekit report, version {SCHEMA_VERSION}"
    found["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return found


def write() -> None:
    """Publish it anew."""
    FILE.write_text(json.dumps(schema(), indent=1) + "\n")
