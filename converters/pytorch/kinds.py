"""Tells PyTorch files apart by what is in them, and checks archives before anything reads them.

Standard library only. ``.pt``, ``.pth``, ``.pt2``, ``.ckpt``, ``.th`` and ``.bin`` all name any of these.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from enum import StrEnum
from pathlib import Path, PurePosixPath

from edgekit.errors import ConversionError, UntrustedError

# torch.save before 1.6 wrote this number first, as a pickled long (torch/serialization.py, MAGIC_NUMBER).
_LEGACY_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
# Functions that shape expressions of a program may call; torch.export hands the text to sympy, which evaluates it.
_SHAPE_FUNCTIONS = frozenset(
    "Abs And CeilDiv CeilToInt CleanDiv Eq FloorDiv FloorToInt Ge Gt Identity Integer IntTrueDiv"
    " IsNonOverlappingAndDense Le LShift Lt Max Min Mod ModularIndexing Ne Not Or Piecewise PowByNatural PythonMod"
    " RShift Rational RoundToInt Symbol ToFloat TruncToInt Where ceiling floor log2 sqrt".split()
)
_MAX_EXPANSION = 200


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
                return _identify_archive([PurePosixPath(name) for name in archive.namelist()])
        except zipfile.BadZipFile as error:
            raise ConversionError(
                f"{path}: a zip archive that is cut short or damaged ({error}).",
                hint="PyTorch and Keras files are zip archives: copy or download it again and compare the size.",
            ) from error
    if start[:1] == b"\x80" and _LEGACY_MAGIC in start[:20]:
        return Kind.LEGACY
    if start[:1] == b"\x80" and start[1] in range(2, 6) and path.stat().st_size > 2:
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


def check_archive(path: Path) -> None:
    """Refuse archives that could do harm when they are unpacked.

    Raises:
        UntrustedError: A member leaves its folder, or expands beyond reason.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            member = PurePosixPath(info.filename)
            if member.is_absolute() or ".." in member.parts:
                raise UntrustedError(f"{path}: archive member {info.filename!r} points outside the archive.")
            if info.file_size > _MAX_EXPANSION * max(info.compress_size, 1 << 16):
                raise UntrustedError(f"{path}: archive member {info.filename!r} expands to {info.file_size} bytes.")


def check_shape_expressions(path: Path) -> None:
    """Refuse a ``.pt2`` whose shape expressions are more than arithmetic.

    ``torch.export.load`` gives each ``expr_str`` to ``sympy.sympify``, which evaluates Python.

    Raises:
        UntrustedError: An expression holds anything but symbols, numbers, operators and known functions.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                for expression in _expressions(json.loads(archive.read(name))):
                    if not _is_arithmetic(expression):
                        raise UntrustedError(
                            f"{path}: the shape expression {expression[:80]!r} in {name} is more than arithmetic; "
                            "loading it would run code.",
                            hint="Add --trust if you made this file yourself.",
                        )


def _expressions(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["expr_str"]] if isinstance(value.get("expr_str"), str) else []
        return own + [text for item in value.values() for text in _expressions(item)]
    if isinstance(value, list):
        return [text for item in value for text in _expressions(item)]
    return []


def _is_arithmetic(expression: str) -> bool:
    if re.search(r"[^\w\s+\-*/(),<>=&|~%.]|__|\.\s*[A-Za-z_]", expression):
        return False
    return set(re.findall(r"([A-Za-z_]\w*)\s*\(", expression)) <= _SHAPE_FUNCTIONS
