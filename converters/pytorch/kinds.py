"""Tells PyTorch files apart by what is in them.

Standard library only. ``.pt``, ``.pth``, ``.pt2``, ``.ckpt``, ``.th`` and ``.bin`` all name any of these.
"""

from __future__ import annotations

import struct
import zipfile
from enum import StrEnum
from pathlib import Path, PurePosixPath

from edgekit.errors import ConversionError

# torch.save before 1.6 wrote this number first, as a pickled long (torch/serialization.py, MAGIC_NUMBER), behind the
# pickle's own header: 2 bytes, or 11 from protocol 4 on.
_LEGACY_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_PLACES = (2, 11)


class Kind(StrEnum):
    """What a PyTorch file is."""

    PT2 = "torch.export program (.pt2)"
    TORCHSCRIPT = "TorchScript archive"
    SAVED = "torch.save file"
    LEGACY = "torch.save file of the old format"
    PICKLE = "plain pickle"
    SAFETENSORS = "safetensors weights"


def identify(path: Path) -> Kind | None:
    """The kind of a file, or ``None`` when it is not PyTorch's.

    Raises:
        ConversionError: A zip archive that cannot be read to its end.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                # Archives hold archives: what is left of one that was cut short may end with a whole one.
                if archive.infolist() and min(info.header_offset for info in archive.infolist()) > 0:
                    raise zipfile.BadZipFile("its beginning and its end do not belong together")
                return _identify_archive([PurePosixPath(name) for name in archive.namelist()])
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ConversionError(
                f"{path}: a zip archive that is cut short or damaged ({error}).",
                hint="PyTorch and Keras files are zip archives: copy or download it again and compare the size.",
            ) from error
    if start[:1] == b"\x80" and any(start.startswith(_LEGACY_MAGIC, place) for place in _LEGACY_PLACES):
        return Kind.LEGACY
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and len(start) > 2:
        return Kind.PICKLE
    return Kind.SAFETENSORS if _is_safetensors(path, start) else None


def _identify_archive(members: list[PurePosixPath]) -> Kind | None:
    # Members lie in a folder named after the file.
    inner = {"/".join(member.parts[1:]) for member in members}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Kind.TORCHSCRIPT
    if any(name.startswith("models/") and name.endswith(".json") for name in inner):
        return Kind.PT2
    if any(member.name == "serialized_exported_program.json" for member in members):
        return Kind.PT2
    return Kind.SAVED if "data.pkl" in inner else None


def _is_safetensors(path: Path, start: bytes) -> bool:
    if len(start) < 10 or start[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", start[:8])
    return bool(length + 8 <= path.stat().st_size)
