"""``--input`` as typed."""

from __future__ import annotations

import numpy as np

from edgekit.errors import UsageError
from edgekit.types import TensorSpec


def parse(option: str) -> TensorSpec:
    """``NAME=1,3,224,224[:dtype]``; the name may be left out.

    Raises:
        UsageError: It is not of that form.
    """
    name, equals, rest = option.partition("=")
    name, rest = (name, rest) if equals else ("", option)
    sizes, colon, dtype = rest.partition(":")
    try:
        shape = tuple(int(size) for size in sizes.replace("x", ",").split(",")) if sizes.strip() else ()
        if any(size < 1 for size in shape):
            raise ValueError("sizes start at 1")
        return TensorSpec(name.strip(), shape, np.dtype(dtype if colon else "float32").name)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"--input {option}: not a shape ({error}).",
            hint="--input image=1,3,224,224   or   --input ids=1,128:int64",
        ) from error
