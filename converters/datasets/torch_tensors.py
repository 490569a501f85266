"""Tensors that ``torch.save`` wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.datasets._tensors import to_numpy
from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError
from edgekit.plugins import DataFormat


def identify(path: str) -> bool:
    """Whether it is a pickle, alone or in the archive that ``torch.save`` makes."""
    place = Path(path)
    if not place.is_file():
        return False
    with place.open("rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if start != b"PK":
        return False
    try:
        with zipfile.ZipFile(place) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Read the tensors, without running anything in the file.

    A lone tensor is called ``x``, those of a list ``arr_0``, ``arr_1``…
    """
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead to
        raise DataError(
            f"--data {path}: a pickle that is damaged or needs code of its own; nothing of it was run.",
            hint="np.savez('data.npz', x=…, labels=…)",
        ) from error
    named: Any = loaded
    if isinstance(loaded, torch.Tensor):
        named = {"x": loaded}
    elif isinstance(loaded, (list, tuple)):
        named = {f"arr_{index}": item for index, item in enumerate(loaded)}
    if not isinstance(named, dict):
        raise DataError(f"--data {path}: expected tensors, found {type(loaded).__name__}.")
    others = [f"{name}: {type(item).__name__}" for name, item in named.items() if not isinstance(item, torch.Tensor)]
    if others:
        raise DataError(
            f"--data {path}: expected tensors, found a {type(loaded).__name__} with {', '.join(others[:5])}.",
            hint="torch.save({'x': images, 'labels': labels}, 'data.pt')",
        )
    return Dataset(path, {str(name): to_numpy(item) for name, item in named.items()})


DATA = DataFormat(
    name="torch_tensors",
    title="tensors of torch.save",
    identify=identify,
    read="converters.datasets.torch_tensors:read",
    child=True,
    preload=("torch",),
    packages=("torch",),
    extra="torch",
)
