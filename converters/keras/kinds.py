"""Tells Keras files apart by what is in them, with the standard library alone.

What an HDF5 file holds exactly is h5py's to say, in the job that reads it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_CONFIG = "config.json"
WEIGHTS_MEMBERS = ("model.weights.h5", "model.weights.npz")
_FIRST_MEMBERS = (b"metadata.json", b"config.json")
_CHUNK = 1 << 20

# Names that Keras writes into HDF5 files, in plain bytes. A full model has its configuration as an attribute.
_MODEL = b"model_config"
_OLD_WEIGHTS = (b"layer_names", b"weight_names")
_NEW_WEIGHTS = ((b"layers\0", b"vars\0"), (b"_layer_checkpoint_dependencies", b"vars\0"))
_LONGEST = max(len(word) for word in (_MODEL, *_OLD_WEIGHTS, *(word for pair in _NEW_WEIGHTS for word in pair)))


class Kind(StrEnum):
    """What a Keras file is."""

    ARCHIVE = "Keras archive (.keras)"
    HDF5 = "Keras model in HDF5 (.h5)"
    OLD_WEIGHTS = "Keras weights in HDF5 (.h5)"
    NEW_WEIGHTS = "Keras weights (.weights.h5)"


def identify(path: Path) -> Kind | None:
    """The kind of a file, or ``None`` when it is not Keras's; never raises for what is in it."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(_HDF5):
        return _identify_hdf5(path)
    return _identify_zip(path, start) if start.startswith(_ZIP) else None


def _identify_zip(path: Path, start: bytes) -> Kind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        # Cut short: Keras writes these members first, and PyTorch and .npz never.
        return Kind.ARCHIVE if start[30:].startswith(_FIRST_MEMBERS) else None
    return Kind.ARCHIVE if _CONFIG in names and any(name in names for name in WEIGHTS_MEMBERS) else None


def _identify_hdf5(path: Path) -> Kind | None:
    every = {_MODEL, *_OLD_WEIGHTS, *(word for pair in _NEW_WEIGHTS for word in pair)}
    found = _search(path, every)
    if _MODEL in found:
        return Kind.HDF5
    if all(word in found for word in _OLD_WEIGHTS):
        return Kind.OLD_WEIGHTS
    return Kind.NEW_WEIGHTS if any(all(word in found for word in pair) for pair in _NEW_WEIGHTS) else None


def _search(path: Path, words: Iterable[bytes]) -> set[bytes]:
    """Which of some words occur in a file; it is not read further than to the first ``model_config``."""
    missing, found = set(words), set[bytes]()
    with path.open("rb") as file:
        kept = b""
        while _MODEL not in found and (chunk := file.read(_CHUNK)):
            part = kept + chunk
            here = {word for word in missing if word in part}
            missing, found = missing - here, found | here
            kept = part[-_LONGEST:]
    return found
