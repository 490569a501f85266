"""What a Keras file says: its configuration and its weights. Nothing of it is built, and nothing runs."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.keras.kinds import WEIGHTS_MEMBERS, Kind
from edgekit.errors import ConversionError, UnsupportedError, first_line

Config = dict[str, Any]

_AGAIN = "Copy or download it again, and compare its size with the original's."
_LARGEST_TEXT = 1 << 28
_NOT_WEIGHTS = ("optimizer", "seed_generator")


@dataclass(frozen=True)
class Saved:
    """A file as it was found.

    Attributes:
        path: As typed.
        kind: Of the file.
        version: Of the Keras that wrote it, ``?`` where the file does not say.
        config: Of the model; ``None`` for weights alone.
        weights: Name to shape and dtype, without those of the optimizer.
    """

    path: Path
    kind: Kind
    version: str
    config: Config | None
    weights: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """Of Keras; 2 where the file does not say, which is older than those that do."""
        first = self.version.partition(".")[0]
        return int(first) if first.isdecimal() else 2


def read(path: Path, kind: Kind) -> Saved:
    """Read what a file says.

    Raises:
        ConversionError: It is damaged.
        UnsupportedError: Keras 1 wrote it.
    """
    with _damage(path):
        saved = _read_archive(path) if kind is Kind.ARCHIVE else _read_hdf5(path, kind)
    if saved.version != "?" and saved.major < 2:
        raise UnsupportedError(
            f"{path}: Keras {saved.version} wrote this file, and edgekit reads those of Keras 2 and 3.",
            hint="Load it in Keras 2 and save it again, or name what builds the network: --model FILE.py:NAME",
        )
    return saved


def write(saved: Saved, config: Config, folder: Path) -> Path:
    """A copy of the file with another configuration, and without what belongs to training.

    Keras gets this copy and never the user's file: what was checked is what is loaded.

    Args:
        saved: The file.
        config: In place of its own.
        folder: An existing one.
    """
    if saved.kind is Kind.ARCHIVE:
        copy = folder / "model.keras"
        with _damage(saved.path), zipfile.ZipFile(saved.path) as source, zipfile.ZipFile(copy, "w") as target:
            for name in dict.fromkeys(source.namelist()):
                _copy_member(source, target, name, config)
        return copy
    import h5py

    copy = folder / "model.h5"
    shutil.copyfile(saved.path, copy)
    with _damage(saved.path), h5py.File(copy, "r+") as file:
        for name in ("model_config", "training_config"):
            if name in file.attrs:
                del file.attrs[name]
        file.attrs["model_config"] = json.dumps(config)
    return copy


def weights_file(saved: Saved, folder: Path) -> Path:
    """The weights of a file under a name that tells Keras what layout they have.

    Raises:
        UnsupportedError: They are ``.npz``, which Keras loads into no other model.
    """
    if saved.kind is Kind.ARCHIVE:
        name = WEIGHTS_MEMBERS[0]
        with _damage(saved.path), zipfile.ZipFile(saved.path) as archive:
            if name not in archive.namelist():
                raise UnsupportedError(f"{saved.path}: its weights are .npz, and --model needs {name}.")
            with archive.open(name) as member, (folder / name).open("wb") as target:
                shutil.copyfileobj(member, target)
        return folder / name
    link = folder / ("link.weights.h5" if saved.kind is Kind.NEW_WEIGHTS else "link.h5")
    link.symlink_to(saved.path.absolute())
    return link


def _copy_member(source: zipfile.ZipFile, target: zipfile.ZipFile, name: str, config: Config) -> None:
    if name == "config.json":
        target.writestr(name, json.dumps(config))
        return
    with source.open(name) as member, target.open(name, "w", force_zip64=True) as copy:
        shutil.copyfileobj(member, copy, 1 << 20)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What reading a damaged file ends in, as a message."""
    try:
        yield
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError, RuntimeError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, zipfile.BadZipFile):
            raise  # of the disk, not of the file
        raise ConversionError(
            f"{path}: this Keras file is cut short or damaged ({first_line(error)}).", hint=_AGAIN
        ) from error


def _read_archive(path: Path) -> Saved:
    with zipfile.ZipFile(path) as archive:
        config = _parsed(_text(archive, "config.json"), path)
        has_metadata = "metadata.json" in archive.namelist()
        metadata = _parsed(_text(archive, "metadata.json"), path) if has_metadata else {}
        weights = {}
        if WEIGHTS_MEMBERS[0] in archive.namelist():
            weights = _weights(io.BytesIO(archive.read(WEIGHTS_MEMBERS[0])))
    return Saved(path, Kind.ARCHIVE, str(metadata.get("keras_version", "?")), config, weights)


def _text(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST_TEXT:
        raise ValueError(f"{name} expands to {archive.getinfo(name).file_size} bytes")
    return archive.read(name)


def _parsed(text: bytes | str, path: Path) -> Config:
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError("its configuration is no JSON object")
    return parsed


def _read_hdf5(path: Path, kind: Kind) -> Saved:
    import h5py

    with h5py.File(path, "r") as file:
        said = file.attrs.get("model_config")
        config = None if said is None else _parsed(said, path)
        version = file.attrs.get("keras_version", b"?")
    if kind is Kind.HDF5 and config is None:
        raise ValueError("it names a model_config and holds none")
    words = version.decode() if isinstance(version, bytes) else str(version)
    return Saved(path, kind, words, config, _weights(path))


def _weights(file: Path | io.BytesIO) -> dict[str, tuple[tuple[int, ...], str]]:
    import h5py

    found: dict[str, tuple[tuple[int, ...], str]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not any(part in name for part in _NOT_WEIGHTS):
            found[name.removeprefix("model_weights/")] = (tuple(item.shape or ()), str(item.dtype))

    with h5py.File(file, "r") as opened:
        opened.visititems(visit)
    return found
