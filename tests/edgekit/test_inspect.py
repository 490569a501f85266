from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConversionError, MissingDependencyError, UnsupportedError, UsageError
from edgekit.inspect import inspect
from edgekit.paths import existing_file

PROGRAM = Path(__file__).parent.parent / "models" / "small_int8.pte"


@pytest.fixture(autouse=True)
def kept_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", "inspect", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def needs_executorch() -> None:
    pytest.importorskip("executorch", reason="needs the executorch extra")


def test_facts_of_a_file_whatever_its_suffix(tmp_path: Path) -> None:
    needs_executorch()
    odd = tmp_path / "model.jpg"
    odd.write_bytes(PROGRAM.read_bytes())
    facts = inspect(odd)
    assert facts["schema_version"] == 2
    assert (facts["path"], facts["size_bytes"]) == (str(odd), PROGRAM.stat().st_size)
    assert (facts["format"], facts["quantization"], facts["macs"]) == ("ExecuTorch", "int8", 2900)


def test_command_prints_the_facts() -> None:
    needs_executorch()
    shown = run(str(PROGRAM))
    assert shown.returncode == 0
    for text in (
        "image: float32 [?,2,8,8]",
        "int8",
        "2,900",
        "xnnpack::Conv2d",
        "Stayed float: 4",
        "XnnpackBackend x3",
    ):
        assert text in shown.stdout
    assert "Outside the delegate: 2" in shown.stdout
    assert "small_int8.pte" in shown.stderr  # progress does not mix with the result


def test_command_prints_json() -> None:
    needs_executorch()
    facts = json.loads(run(str(PROGRAM), "--json", "-q").stdout)
    assert facts["signature"]["inputs"] == [
        {"name": "image", "shape": [None, 2, 8, 8], "dtype": "float32", "scale": None, "zero_point": None}
    ]
    assert [item["operator"] for item in facts["undelegated"]] == [
        "aten::unsqueeze_copy.out",
        "aten::squeeze_copy.dims_out",
    ]


def test_damaged_file_is_an_error_with_a_log_and_a_hint(tmp_path: Path) -> None:
    needs_executorch()
    cut = tmp_path / "cut.pte"
    cut.write_bytes(PROGRAM.read_bytes()[:9000])
    with pytest.raises(ConversionError, match="truncated") as caught:
        inspect(cut)
    assert Path(caught.value.log).is_file()
    failed = run(str(cut), "--json", "-q")
    assert failed.returncode == 5
    assert json.loads(failed.stdout)["failures"][0]["error"] == "ConversionError"


def test_unknown_content(tmp_path: Path) -> None:
    text = tmp_path / "notes.tflite"
    text.write_text("this is no model")
    with pytest.raises(UnsupportedError, match="not a model file that edgekit knows"):
        inspect(text)


def test_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit import registry

    find = registry.importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util, "find_spec", lambda name, *rest: None if name == "executorch" else find(name, *rest)
    )
    with pytest.raises(MissingDependencyError, match="needs executorch") as caught:
        inspect(PROGRAM)
    assert "edgekit[executorch]" in caught.value.hint


def test_the_command_itself_imports_no_framework() -> None:
    needs_executorch()
    code = (
        "import sys; from edgekit.inspect import inspect; inspect(sys.argv[1]);"
        "print([name for name in ('torch', 'executorch', 'onnx', 'numpy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(PROGRAM)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_file_names_the_closest(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"x")
    with pytest.raises(UsageError, match="no such file") as caught:
        existing_file(tmp_path / "model.tfltie")
    assert str(tmp_path / "model.tflite") in caught.value.hint
    with pytest.raises(UsageError, match="no such file") as caught:
        existing_file(tmp_path / "nowhere" / "model.tflite")
    assert "no folder" in caught.value.hint


def test_folder_names_its_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is a folder") as caught:
        existing_file(tmp_path)
    assert caught.value.hint == "It has no files."
    (tmp_path / "model.tflite").write_bytes(b"x")
    with pytest.raises(UsageError) as caught:
        existing_file(tmp_path)
    assert "model.tflite" in caught.value.hint


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").touch()
    with pytest.raises(UsageError, match="empty"):
        existing_file(tmp_path / "model.tflite")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(UsageError, match="may not read"):
        existing_file(file)


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        existing_file(tmp_path / "pipe")


def test_existing_file_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"x")
    assert existing_file(str(file)) == file


def test_command_on_a_missing_file(tmp_path: Path) -> None:
    failed = run(str(tmp_path / "nothing.pte"))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "no such file" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.shared
def test_one_network_counts_the_same_as_source(shared_models: Path) -> None:
    """ResNet-20: 40.55 million multiply-accumulates, as its paper has them."""
    pytest.importorskip("torch", reason="needs the torch extra")
    from edgekit.options import SourceOptions

    networks = Path(__file__).parent.parent / "models" / "networks.py"
    options = SourceOptions(f"{networks}:resnet20", inputs=("image=1,3,32,32",))
    facts: dict[str, Any] = inspect(shared_models / "cifar10_resnet_akamaster/resnet20-12fca82f.th", options=options)
    assert facts["macs"] == 40_551_040
