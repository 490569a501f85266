"""PyTorch files are told apart by what is in them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.pytorch import kinds
from converters.pytorch.kinds import Kind
from edgekit.errors import ConversionError

torch = pytest.importorskip("torch", reason="needs the extra torch")


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()).eval()


def write_pt2(path: Path) -> None:
    torch.export.save(torch.export.export(network(), (torch.randn(1, 3),)), path)


def write_traced(path: Path) -> None:
    torch.jit.trace(network(), torch.randn(1, 3)).save(path)


def write_scripted(path: Path) -> None:
    torch.jit.script(network()).save(path)


def write_state(path: Path) -> None:
    torch.save(network().state_dict(), path)


def write_module(path: Path) -> None:
    torch.save(network(), path)


def write_legacy(protocol: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)

    return write


def write_safetensors(path: Path) -> None:
    pytest.importorskip("safetensors.torch", reason="needs the extra torch").save_file(network().state_dict(), path)


def write_pickle(protocol: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(pickle.dumps(network(), protocol=protocol))

    return write


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))


WRITERS: list[tuple[str, Callable[[Path], None], Kind | None]] = [
    ("pt2", write_pt2, Kind.PT2),
    ("traced", write_traced, Kind.TORCHSCRIPT),
    ("scripted", write_scripted, Kind.TORCHSCRIPT),
    ("state", write_state, Kind.SAVED),
    ("module", write_module, Kind.SAVED),
    ("safetensors", write_safetensors, Kind.SAFETENSORS),
    *((f"legacy-{protocol}", write_legacy(protocol), Kind.LEGACY) for protocol in (2, 3, 4, 5)),
    *((f"pickle-{protocol}", write_pickle(protocol), Kind.PICKLE) for protocol in (2, 4, 5)),
    ("npz", write_npz, None),
    ("text", lambda path: path.write_text("not a model"), None),
    ("tflite", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100)), None),
    ("one byte", lambda path: path.write_bytes(b"\x80"), None),
    ("png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), None),
]


@pytest.mark.parametrize("suffix", ["pt2", "pt", "pth", "ckpt", "th", "bin", "safetensors", "onnx", "weights.tar", ""])
def test_content_decides_whatever_the_suffix(suffix: str, examples: dict[str, bytes], tmp_path: Path) -> None:
    for name, _, kind in WRITERS:
        path = tmp_path / f"model.{suffix}"
        path.write_bytes(examples[name])
        assert kinds.identify(path) is kind, name


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("kinds")
    found = {}
    for name, write, _ in WRITERS:
        write(folder / "original.name")
        found[name] = (folder / "original.name").read_bytes()
    return found


@pytest.mark.parametrize("name", ["pt2", "traced", "state"])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_archive_is_named_as_such(
    examples: dict[str, bytes], tmp_path: Path, name: str, keep: float
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(examples[name][: int(len(examples[name]) * keep)])
    with pytest.raises(ConversionError, match="cut short or damaged") as caught:
        kinds.identify(path)
    assert "download it again" in caught.value.hint


def test_a_truncated_safetensors_header_is_no_safetensors(examples: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(examples["safetensors"][:60])
    assert kinds.identify(path) is None


def test_the_end_of_another_archive_does_not_stand_for_the_whole(examples: dict[str, bytes], tmp_path: Path) -> None:
    """A ``.pt2`` holds a torch.save archive; cut behind that, its end is the end of a whole archive."""
    path = tmp_path / "model.pt2"
    inner = b"PK\x05\x06"
    end = examples["pt2"].index(inner) + 22
    path.write_bytes(examples["pt2"][:end])
    assert zipfile.is_zipfile(path)
    with pytest.raises(ConversionError, match="cut short or damaged"):
        kinds.identify(path)
