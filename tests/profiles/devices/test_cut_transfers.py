"""A transfer that is cut anywhere: what lies under its final name is whole, or is not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from local_transport import LocalTransport

from edgekit.errors import DeviceError
from profiles.devices import _shell

BLOCK = 512
"""Of archives: ``tar`` takes one that ends between two blocks for a whole one."""


def folder_of(tmp_path: Path) -> Path:
    local = tmp_path / "samples"
    local.mkdir()
    for name, size in (("a", 0), ("b", BLOCK), ("manifest.json", BLOCK + 1)):
        (local / name).write_bytes(b"x" * size)
    return local


def file_of(tmp_path: Path) -> Path:
    local = tmp_path / "model"
    local.write_bytes(b"x" * 3 * BLOCK)
    return local


@pytest.mark.parametrize("make", [folder_of, file_of])
def test_an_upload_that_is_cut_between_two_blocks_counts_for_nothing(
    transport: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    local, target = make(tmp_path), Path(transport.home) / "final"
    whole = io.BytesIO()
    _shell._send(local, whole, None)
    blocks = [whole.getvalue()[start : start + BLOCK] for start in range(0, len(whole.getvalue()), BLOCK)]
    used = max(number for number, block in enumerate(blocks) if block.strip(b"\0"))
    assert used > 3
    for cut in range(used + 1):
        sent = b"".join(blocks[:cut])

        def cut_short(_: Path, stream: IO[bytes], __: Any, sent: bytes = sent) -> None:
            stream.write(sent)

        with monkeypatch.context() as patch:
            patch.setattr(_shell, "_send", cut_short)
            with pytest.raises(DeviceError, match="was not received"):
                transport.push(local, str(target))
        assert not list(Path(transport.home).iterdir()), f"after {cut} of {used + 1} blocks"
    transport.push(local, str(target))
    assert [one.name for one in Path(transport.home).iterdir()] == ["final"]
