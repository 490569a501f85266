"""``.safetensors`` files of samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from converters.datasets._tensors import to_numpy
from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError
from edgekit.plugins import DataFormat


def identify(path: str) -> bool:
    """Whether a JSON header follows its length."""
    place = Path(path)
    if not place.is_file():
        return False
    with place.open("rb") as file:
        start = file.read(9)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Read its tensors."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"--data {path}: not a readable safetensors file: {error}") from error
    except TypeError:  # a dtype that NumPy has not
        from safetensors.torch import load_file as load_tensors

        arrays = {name: to_numpy(tensor) for name, tensor in load_tensors(path).items()}
    return Dataset(path, arrays)


DATA = DataFormat(
    name="safetensors",
    title=".safetensors",
    identify=identify,
    read="converters.datasets.safetensors:read",
    child=True,
    packages=("safetensors",),
    extra="torch",
)
