from __future__ import annotations

import csv
import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from reports import HOSTILE, hostile, usual

from edgekit.cli import State, cli
from edgekit.report import schema, tensorboard
from edgekit.report.csv_table import csv_table
from edgekit.report.markdown import escaped, markdown
from edgekit.summary import summarize
from edgekit.types import Measurement, to_json

MODELS = Path(__file__).parent.parent.parent / "profiles" / "models"


def test_markdown_has_the_finding_first_and_a_row_for_each_file() -> None:
    text = markdown(usual(), summarize(usual()))
    lines = text.splitlines()
    assert lines[0].startswith("**int8 TFLite \\(m.int8.tflite\\)\\: 3.7 times smaller")
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 6
    assert len({row.count("|") for row in rows}) == 1
    assert "**m.int8.tflite**" in rows[2]


def test_names_cannot_become_markup() -> None:
    text = markdown(hostile(), summarize(hostile()))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)@someone", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"(?<!\\)`", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert escaped("www.x.org $y$") == "www\\.x.org \\$y\\$"
    assert escaped("a\nb\t*c*") == "a b \\*c\\*"


def test_csv_has_every_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(usual(), summarize(usual())))))
    assert rows[0]["key"] == "m.int8.tflite"
    assert float(rows[0]["size_bytes"]) == 27_000
    assert float(rows[0]["latency_p50_ns_low"]) == pytest.approx(4e5 * 0.99)
    assert rows[0]["latency_p90_ns"] == ""
    assert rows[0]["pareto"] == "True"


def test_no_two_columns_of_csv_have_one_name() -> None:
    report = usual()
    own = (Measurement("accuracy", None, "ratio", True, unavailable="no labels"), Measurement("=1+1", 2.0, "", True))
    made = replace(
        report, profiles=tuple(replace(one, measurements=(*one.measurements, *own)) for one in report.profiles)
    )
    rows = list(csv.reader(io.StringIO(csv_table(made, summarize(made)))))
    assert len(set(rows[0])) == len(rows[0])
    first = dict(zip(rows[0], rows[1], strict=True))
    assert float(first["headline_accuracy"]) == pytest.approx(0.949)
    assert first["accuracy"] == ""
    assert first["'=1+1"] == "2.0"


def test_names_cannot_become_formulas() -> None:
    report = hostile()
    odd = replace(report.profiles[0], path="=cmd|' /C calc'!A0")
    made = replace(report, profiles=(odd,))
    rows = list(csv.reader(io.StringIO(csv_table(made, summarize(made)))))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    assert not [cell for row in rows for cell in row if "\x1b" in cell]


def test_the_published_schema_is_that_of_the_types() -> None:
    assert json.loads(schema.FILE.read_text()) == schema.schema(), "make schema"


@pytest.mark.parametrize("report", [usual(), hostile()], ids=["usual", "hostile"])
def test_reports_are_as_the_schema_says(report: Any) -> None:
    jsonschema.validate(json.loads(json.dumps(to_json(report))), json.loads(schema.FILE.read_text()))


def test_the_schema_refuses_another_version() -> None:
    wrong = {**json.loads(json.dumps(to_json(usual()))), "schema_version": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(schema.FILE.read_text()))


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile", MODELS / "tiny.onnx", "--quick"],
        ["compare", MODELS / "tiny.onnx", MODELS / "tiny.tflite", "--quick", "--reference", MODELS / "tiny.onnx"],
        ["drift", MODELS / "tiny.tflite", "--reference", MODELS / "tiny.onnx"],
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_commands_print_what_the_schema_says(arguments: list[Any]) -> None:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"], obj=State(), standalone_mode=False)
    jsonschema.validate(json.loads(result.stdout), json.loads(schema.FILE.read_text()))


def test_commands_write_files_and_say_so(tmp_path: Path) -> None:
    names = {"md": "out.md", "csv": "out.csv"}
    options = [word for name, file in names.items() for word in (f"--{name}", str(tmp_path / file))]
    files = [str(MODELS / name) for name in ("tiny.onnx", "tiny.tflite")]
    result = CliRunner().invoke(cli, ["compare", *files, "--quick", *options], obj=State(), standalone_mode=False)
    assert result.exception is None
    for name, file in names.items():
        assert (tmp_path / file).stat().st_size > 100
        assert f"{name}: {tmp_path / file}" in result.stderr


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    arguments = ["profile", str(MODELS / "tiny.onnx"), "--csv", str(tmp_path / "none" / "x.csv")]
    result = CliRunner().invoke(cli, arguments, obj=State(), standalone_mode=False)
    assert "there is no such folder" in str(result.exception)


def records(path: Path) -> list[bytes]:
    """The records of an event file (TFRecord: length, check, content, check)."""
    content, found = path.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        found.append(content[12 : 12 + size])
        content = content[16 + size :]
    return found


def test_tensorboard_gets_a_run_for_each_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    report = hostile()
    tensorboard.write(report, summarize(report), tmp_path / "runs")
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 4
    tags: dict[str, float] = {}
    for file in folders[0].glob("events*"):
        for record in records(file):
            event = Event.FromString(record)
            tags.update({one.tag: one.simple_value for one in event.summary.value if one.HasField("simple_value")})
    assert tags["edgekit/size_bytes"] == 27_000
    assert not list(tmp_path.rglob("hurt"))
    assert all("/" not in folder.name and "\n" not in folder.name for folder in folders)
    assert HOSTILE not in str(folders)
