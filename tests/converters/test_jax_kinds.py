"""Which files are JAX's, told by content with the standard library."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from converters.jax import kinds

JAX = "import jax\n\ndef net(x):\n    return jax.nn.relu(x)\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    jax = pytest.importorskip("jax", reason="needs the extra jax")
    weights = np.arange(600, dtype=np.float32).reshape(3, 200)
    exported = jax.export.export(jax.jit(lambda x: x @ weights), platforms=("cpu",))
    return bytes(exported(jax.ShapeDtypeStruct((1, 3), "float32")).serialize())


def kind(tmp_path: Path, content: bytes | str) -> str | None:
    file = tmp_path / "file.bin"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return kinds.identify(file)


def test_program(tmp_path: Path, program: bytes) -> None:
    assert kind(tmp_path, program) == "JAX program (jax.export)"
    assert kinds.artifact(tmp_path / "file.bin").whole


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_truncated_program_is_known_as_one(tmp_path: Path, program: bytes, keep: float) -> None:
    assert kind(tmp_path, program[: int(len(program) * keep)]) == "JAX program (jax.export)"
    assert not kinds.artifact(tmp_path / "file.bin").whole


def test_any_beginning_of_a_program_is_read_without_raising(tmp_path: Path, program: bytes) -> None:
    for end in range(0, 700, 7):
        kind(tmp_path, program[:end])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JAX, "Python file with JAX code"),
        ("from flax import linen as nn\nnet = nn.Dense(3)\n", "Python file with JAX code"),
        ("import torch\n\nclass Net(torch.nn.Module): ...\n", "Python file"),
        ("import torch\n", None),
        ("x = 1\n", None),
        ('{"a": [1, 2]}\n', None),
        ("a,b\n1,2\n", None),
        ("def broken(:\n", None),
        ("<!DOCTYPE html>\n", None),
        ("", None),
    ],
)
def test_text(tmp_path: Path, text: str, expected: str | None) -> None:
    assert kind(tmp_path, text) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + bytes(60),
        b"\x89HDF\r\n\x1a\n" + bytes(60),
        struct.pack("<I", 28) + b"TFL3" + bytes(100),
        struct.pack("<I", 8) + bytes(3),
        bytes(4096),
        b"\xff" * 4096,
        np.random.default_rng(0).bytes(4096),
    ],
)
def test_files_of_others(tmp_path: Path, content: bytes) -> None:
    assert kind(tmp_path, content) is None


def test_a_flatbuffer_of_the_same_shape_without_a_module_is_none(tmp_path: Path, program: bytes) -> None:
    assert kind(tmp_path, program.replace(b"ML\xefR", b"MLxR")) is None


def test_names_are_found_without_running(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        f"raise SystemExit('ran')\n{JAX}\nclass Net: ...\n_hidden = jax.jit(net)\nfast = jax.jit(net)\nsize = 3\n"
    )
    found = kinds.code(tmp_path / "net.py")
    assert found is not None
    assert found.functions == ("net", "Net", "fast")
    assert found.is_jax
    assert not found.other_framework


def test_the_framework_of_other_code(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\nclass Net(nn.Module): ...\n")
    assert kinds.code(tmp_path / "net.py").other_framework == "PyTorch"
    (tmp_path / "net.py").write_text("import keras\nimport jax\ndef build(): ...\n")
    assert kinds.code(tmp_path / "net.py").other_framework == ""
