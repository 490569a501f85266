"""Which of the given arrays belongs to which tensor of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Tensor


def match(wanted: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Pair names: equal ones first, the rest by position, which needs as many given as wanted.

    Returns:
        Wanted name to given name.

    Raises:
        ValueError: They cannot be paired.
    """
    pairs = {name: name for name in wanted if name in given}
    if len(pairs) < len(wanted):
        if len(wanted) != len(given):
            raise ValueError(
                f"{len(wanted)} expected ({', '.join(wanted)}), {len(given)} given ({', '.join(given)}), "
                "and the names do not match"
            )
        left = [name for name in given if name not in pairs]
        pairs.update({name: left.pop(0) for name in wanted if name not in pairs})
    return pairs


def quantized(tensor: Tensor, array: Any) -> Any:
    """Floats as the integers of a tensor that has a scale; beyond its range they are clipped, as a device would."""
    import numpy as np

    limits = np.iinfo(tensor["dtype"])
    levels = np.rint(array.astype(np.float64) / tensor["scale"]) + tensor["zero_point"]
    return np.clip(levels, limits.min, limits.max).astype(tensor["dtype"])


def dequantized(tensor: Tensor, array: Any) -> Any:
    """The floats that the integers of a tensor stand for; an array of a tensor without a scale as it is."""
    if tensor["scale"] is None or array.dtype.kind not in "iu":
        return array
    return ((array.astype("float64") - tensor["zero_point"]) * tensor["scale"]).astype("float32")


def fit(tensor: Tensor, name: str, array: Any) -> Any:
    """An array as an input takes it: whole numbers in the input's own width, floats quantized where it has a scale.

    TFLite files take int32 where the source took int64; a value that does not fit is refused, as all else is.

    Args:
        tensor: The input.
        name: What the array is called.
        array: One sample.

    Returns:
        The sample.

    Raises:
        ValueError: Names expected and found.
    """
    if array.dtype.kind in "iu" and tensor["dtype"] in ("int32", "int64") and array.dtype.name != tensor["dtype"]:
        narrowed = array.astype(tensor["dtype"])
        array = narrowed if (narrowed == array).all() else array
    if tensor["scale"] is not None and array.dtype.kind == "f":
        array = quantized(tensor, array)
    wanted = tensor["shape"]
    fits = len(wanted) == array.ndim and all(
        size is None or size == array.shape[axis] for axis, size in enumerate(wanted)
    )
    if not fits or tensor["dtype"] != array.dtype.name:
        sizes = ",".join("?" if size is None else str(size) for size in wanted)
        found = ",".join(str(size) for size in array.shape)
        raise ValueError(
            f"input {tensor['name']!r} is {tensor['dtype']}[{sizes}], "
            f"the samples hold {name!r} as {array.dtype.name}[{found}]"
        )
    return array
