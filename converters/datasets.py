"""Data files that a framework wrote, read in a child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit import feeds
from edgekit.errors import DataError


def safetensors(path: str, into: str) -> str:
    """Read a ``.safetensors`` file.

    Returns:
        The feeds folder ``into``, with its arrays.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"--data {path}: not a readable safetensors file: {error}") from error
    return str(feeds.write(Path(into), feeds.Feeds(arrays)))


def torch_tensors(path: str, into: str) -> str:
    """Read tensors that ``torch.save`` wrote, without running anything in the file.

    A lone tensor is called ``x``, those of a list ``arr_0``, ``arr_1``…

    Returns:
        The feeds folder ``into``, with its arrays.
    """
    import pickle

    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"--data {path}: not an array file: neither .npz, .npy, safetensors nor a torch.save file of tensors "
            f"({str(error).splitlines()[0]})."
        ) from error
    if isinstance(loaded, torch.Tensor):
        loaded = {"x": loaded}
    elif isinstance(loaded, (list, tuple)):
        loaded = {f"arr_{index}": item for index, item in enumerate(loaded)}
    if not isinstance(loaded, dict) or not all(isinstance(item, torch.Tensor) for item in loaded.values()):
        raise DataError(f"--data {path}: expected tensors, found {type(loaded).__name__} of other things.")
    arrays = {str(name): item.detach().contiguous().numpy() for name, item in loaded.items()}
    return str(feeds.write(Path(into), feeds.Feeds(arrays)))
