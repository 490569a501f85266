"""How large a file is when it travels: as an app store or an update ships it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from edgekit.paths import size_bytes

LEVEL = 9
LIMIT_BYTES = 256_000_000
"""Larger ones are not compressed: at 10 to 30 MB per second that would take longer than anything else."""

_CHUNK_BYTES = 1 << 20


def compressed_bytes(places: Iterable[Path]) -> int | None:
    """Bytes after DEFLATE at level 9, the compression inside of ``.apk``, ``.ipa`` and other zip archives.

    Read piece by piece, so that memory does not grow with the file. The archive's own entries, some hundred bytes per
    file, are left out.

    Args:
        places: Files, and folders, whose files are compressed one by one.

    Returns:
        ``None`` above :data:`LIMIT_BYTES` in all.
    """
    found = list(places)
    if sum(map(size_bytes, found)) > LIMIT_BYTES:
        return None
    return sum(_of_file(file) for place in found for file in _files(place))


def _files(place: Path) -> list[Path]:
    return sorted(item for item in place.rglob("*") if item.is_file()) if place.is_dir() else [place]


def _of_file(file: Path) -> int:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)  # raw, as in a zip archive
    size = 0
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())
