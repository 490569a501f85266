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
    except TypeError:  # a dtype that NumPy has not
        from safetensors.torch import load_file as load_tensors

        arrays = {name: _to_numpy(tensor) for name, tensor in load_tensors(path).items()}
    return str(feeds.write(Path(into), feeds.Feeds(arrays)))


def torch_tensors(path: str, into: str) -> str:
    """Read tensors that ``torch.save`` wrote, without running anything in the file.

    A lone tensor is called ``x``, those of a list ``arr_0``, ``arr_1``…

    Returns:
        The feeds folder ``into``, with its arrays.
    """
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead to
        with Path(path).open("rb") as file:
            pickled = file.read(2).startswith((b"\x80", b"PK"))
        reason = (
            "a pickle that is damaged or needs code of its own; nothing of it was run"
            if pickled
            else "not an array file: neither .npz, .npy, safetensors nor a torch.save file of tensors"
        )
        raise DataError(f"--data {path}: {reason}.", hint="np.savez('data.npz', x=…, labels=…)") from error
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
    arrays = {str(name): _to_numpy(item) for name, item in named.items()}
    return str(feeds.write(Path(into), feeds.Feeds(arrays)))


def _to_numpy(tensor: Any) -> Any:
    import torch

    dense = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    # NumPy has no bfloat16; every value of it is one of float32.
    return (dense.float() if dense.dtype is torch.bfloat16 else dense).contiguous().numpy()
