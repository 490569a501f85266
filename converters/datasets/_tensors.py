"""PyTorch tensors as arrays."""

from __future__ import annotations

from typing import Any


def to_numpy(tensor: Any) -> Any:
    """A tensor as an array in memory."""
    import torch

    dense = tensor.detach().cpu()
    dense = dense.to_dense() if dense.layout is not torch.strided else dense
    # NumPy has no bfloat16; every value of it is one of float32.
    return (dense.float() if dense.dtype is torch.bfloat16 else dense).contiguous().numpy()
