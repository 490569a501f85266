from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.check_config import load
from edgekit.check_init import write
from edgekit.check_types import Limits
from edgekit.errors import UsageError

WHOLE = """\
[check]
data = "test.npz"
reference = "net.py:Net"
device = ["host", "pi"]
threads = 2
budget_s = 3
preprocess = "unit"

[check.models."model.onnx"]
baseline = "old/model.onnx"
max_size = "120 kB"
max_latency_ratio = 1.05

[check.models."model.onnx".devices.pi]
max_latency_ratio = 1.2
max_p90_ms = 20
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    for name in ("model.onnx", "old/model.onnx", "test.npz", "net.py"):
        (tmp_path / name).write_text("content")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "edgekit.toml"
    path.write_text(text)
    return path


def test_everything_that_can_be_said(folder: Path) -> None:
    settings = load(written(folder, WHOLE))
    assert (settings.data, settings.reference) == (str(folder / "test.npz"), folder / "net.py:Net")
    assert (settings.devices, settings.threads, settings.budget_s) == (("host", "pi"), 2, 3.0)
    assert settings.data_options.preprocess == "unit"
    (model,) = settings.models
    assert (model.name, model.path, model.baseline) == ("model.onnx", folder / "model.onnx", folder / "old/model.onnx")
    assert model.on("host") == Limits(max_size=120_000, max_latency_ratio=1.05)
    assert model.on("pi") == Limits(max_size=120_000, max_latency_ratio=1.2, max_p90_ms=20)


def test_data_that_is_no_file_stays_as_typed(folder: Path) -> None:
    assert load(written(folder, WHOLE.replace("test.npz", "random"))).data == "random"


@pytest.mark.parametrize(
    ("size", "wanted"), [("1", 1), ("1.5e6", 1_500_000), ('"120 kB"', 120_000), ('"1.5MiB"', 1_572_864), ('"7 B"', 7)]
)
def test_sizes(folder: Path, size: str, wanted: float) -> None:
    (model,) = load(written(folder, WHOLE.replace('"120 kB"', size))).models
    assert model.limits.max_size == wanted


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("max_size =", "max_sise =", r':11: \[check.models."model.onnx"\] max_sise: no such setting', "mean max_size"),
        ("threads", "thread", r":5: \[check\] thread: no such setting", "mean threads"),
        ("[check]", "[chek]", r":1: chek: no such setting", "mean check"),
        ("devices.pi", "devices.pie", r"no such device of \[check\]", "mean pi"),
        ("max_p90_ms", "max_p99_ms", r":16: .*max_p99_ms: no such setting", "max_p90_ms"),
        ('"120 kB"', '"120 kb"', r"'120 kb' is no size", "kB"),
        ('"120 kB"', '"-1 kB"', r"is no size", "kB"),
        ('"120 kB"', "0", r"max_size: 0 is not a number above 0", "Bytes"),
        ('"120 kB"', "true", r"max_size: True is not a number", "Bytes"),
        ("1.05", "nan", r"max_latency_ratio: nan is not a number", ""),
        ("1.05", '"5 %"', r"'5 %' is not a number", ""),
        ("max_size = ", 'min_accuracy = 97\nmax_size = ', r"97 is not a number from 0 to 1", "0.97"),
        ("max_size = ", 'max_accuracy_drop = 1.5\nmax_size = ', r"1.5 is not a number from 0 to 1", "one point"),
        ('baseline = "old/model.onnx"\n', "", r"max_latency_ratio: nothing to compare with", "baseline"),
        ("old/model.onnx", "model.onnx", r"the file is its own baseline", "copy"),
        ("old/model.onnx", "old/modl.onnx", r"baseline: .*no such file", "model.onnx"),
        ('"model.onnx"]', '"modle.onnx"]', r"modle.onnx: no such file", "model.onnx"),
        ('["host", "pi"]', "[]", r"neither a device nor a list", ""),
        ("threads = 2", "threads = 0", r"0 is no number of threads", ""),
        ("budget_s = 3", "budget_s = -1", r"-1 is not a number above 0", ""),
        ('data = "test.npz"', "data = 7", r":2: \[check\] data: 7 is not text", ""),
        ("threads = 2", "threads = ", r"is not TOML", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(folder: Path, old: str, new: str, message: str, hint: str) -> None:
    assert old in WHOLE
    with pytest.raises(UsageError, match=message) as caught:
        load(written(folder, WHOLE.replace(old, new, 1)))
    assert hint in caught.value.hint
    assert "edgekit.toml" in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"there is no section \[check\]"),
        ("[check]\n", r"there is no section \[check.models\]"),
        ("[check]\nmodels = 3\n", "3 is no section"),
        ("[check.models]\n", "no file to check"),
        ('[check.models."model.onnx"]\n', "no budget"),
    ],
)
def test_settings_that_say_nothing(folder: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(written(folder, text or "\n"))


def test_no_settings_at_all(folder: Path) -> None:
    with pytest.raises(UsageError, match="no such file") as caught:
        load(folder / "edgekit.toml")
    assert "--config" in caught.value.hint
    (folder / "edgekit.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        load(folder / "edgekit.toml")


def test_settings_to_start_from(folder: Path) -> None:
    hostile = folder / 'm"x\\y\n[check]\x7f.onnx'
    hostile.write_text("12345")
    path = folder / "edgekit.toml"
    write(path, [folder / "model.onnx", hostile])
    settings = load(path)
    assert [one.path.read_text() for one in settings.models] == ["content", "12345"]
    assert [one.limits for one in settings.models] == [Limits(max_size=8), Limits(max_size=6)]
    filled = path.read_text().replace('baseline = "baseline/', 'baseline = "old/')
    lines = [line.removeprefix("# ") if " = " in line else line for line in filled.splitlines()]
    path.write_text("\n".join(lines).replace('"old/m\\"', '"model.onnx" #'))
    first, _ = load(path).models
    assert len(first.limits.items()) == 7
    with pytest.raises(UsageError, match="is there already"):
        write(path, [hostile])
    with pytest.raises(UsageError, match="needs the files"):
        write(folder / "other.toml", [])
    with pytest.raises(UsageError, match="no such file"):
        write(folder / "other.toml", [folder / "none.onnx"])
    assert not (folder / "other.toml").exists()


def test_the_example_in_the_docs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "baseline").mkdir()
    for name in ("model.int8.tflite", "baseline/model.int8.tflite", "model.pt2", "test.npz"):
        (tmp_path / name).write_text("content")
    settings = load(written(tmp_path, example))
    assert settings.devices == ("host", "pi")
    assert settings.models[0].on("pi").max_p90_ms == 20
    documented = {name for name in Limits.__dataclass_fields__ if f"`{name}`" in page}
    assert documented == set(Limits.__dataclass_fields__)
