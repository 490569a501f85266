"""Which files are Keras's: by content, with the standard library alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from converters.keras.kinds import Kind, identify
from edgekit import registry

h5py = pytest.importorskip("h5py", reason="needs the extra tensorflow")


def archive(path: Path, *members: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in members:
            file.writestr(name, "{}" * 200)
    return path


def test_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.bin", "metadata.json", "config.json", "model.weights.h5")
    assert identify(whole) is Kind.ARCHIVE
    assert identify(archive(tmp_path / "b", "config.json", "model.weights.npz")) is Kind.ARCHIVE
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:500])
    assert identify(tmp_path / "cut") is Kind.ARCHIVE
    for foreign in (("data.pkl",), ("config.json",), ("arr_0.npy",), ("m/data.pkl", "m/version"), ()):
        assert identify(archive(tmp_path / "foreign.keras", *foreign)) is None


@pytest.mark.parametrize(
    "content", [b"", b"P", b"PK", b"PK\3\4", b"PK\3\4" + b"\xff" * 90, b"\x89HDF", b"\x89HDF\r\n\x1a\n"]
)
def test_what_is_next_to_nothing_is_nobody_s(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.keras").write_bytes(content)
    assert identify(tmp_path / "model.keras") is None


def test_hdf5(tmp_path: Path) -> None:
    def write(name: str, attributes: dict[str, object], *datasets: str) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs.update(attributes)
            for dataset in datasets:
                file[dataset] = [1.0]
        return tmp_path / name

    assert identify(write("full", {"model_config": "{}", "keras_version": "2.4.0"}, "model_weights/a/b")) is Kind.HDF5
    old = write("old", {"layer_names": ["a"], "weight_names": ["b"]}, "a/a/kernel:0")
    assert identify(old) is Kind.OLD_WEIGHTS
    assert identify(write("new", {}, "layers/dense/vars/0", "layers/dense/vars/1")) is Kind.NEW_WEIGHTS
    assert identify(write("foreign", {"units": "K"}, "temperature/air", "variables/x")) is None


def test_a_configuration_behind_the_weights_is_found(tmp_path: Path) -> None:
    """More than one piece of reading away, and across the border of two."""
    for offset in (1 << 20, (1 << 20) - 5, (1 << 20) - 12, 3 << 20):
        (tmp_path / "late").write_bytes((b"\x89HDF\r\n\x1a\n").ljust(offset, b"\0") + b"model_config" + bytes(100))
        assert identify(tmp_path / "late") is Kind.HDF5


def test_real_files(shared_models: Path) -> None:
    found = {path.name: registry.identify(path)[1] for path in shared_models.rglob("*.h5")}
    assert set(found.values()) == {Kind.HDF5}
    assert len(found) == 3
    others = [
        path for pattern in ("*.tflite", "*.onnx", "*.pt2", "*.pth", "*.npz") for path in shared_models.rglob(pattern)
    ]
    assert others
    assert [path for path in others if identify(path)] == []


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, converters.sources.keras; assert not {'keras', 'tensorflow', 'h5py', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
