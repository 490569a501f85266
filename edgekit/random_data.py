"""Made-up samples, for where there is no data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.feeds import Array, Feeds
from edgekit.types import Signature

RANDOM = "random"
"""In place of a file: random numbers to calibrate with."""

RANDOM_SAMPLES = 8
SEED = 20_261_122


def random_feeds(signature: Signature, count: int, seed: int, upper: Mapping[str, int]) -> Feeds:
    """Seeded random samples: standard normal, or whole numbers below ``upper[name]`` (2 where it is not given).

    Args:
        signature: Dynamic dimensions count as 1.
        count: Number of samples.
        seed: Of NumPy's default generator.
        upper: Exclusive bound per integer input, such as the rows of an embedding.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        shape = (count, *(size or 1 for size in spec.shape))
        if np.dtype(spec.dtype).kind == "f":
            arrays[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        elif spec.scale is not None:
            arrays[spec.name] = generator.standard_normal(shape).astype(np.float32)
        else:
            arrays[spec.name] = generator.integers(0, upper.get(spec.name, 2), shape).astype(spec.dtype)
    return Feeds(arrays, origin=f"{count} random samples, seed {seed}")
