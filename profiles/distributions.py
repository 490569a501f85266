"""Whether an output is a probability distribution, and how far another one diverges from it.

A reference counts when every row of its last axis has two elements or more, none negative, and sums to 1 within
``1e-3``. The output beside it may miss 1 by a tenth, because in 8 bits each of its elements is rounded to a 256th; its
rows, and those of the reference, are divided by their sums before they are compared.

Zeros of the output, which a divergence would make infinite, are raised to ``1e-7``, the value that Keras uses
(``keras.losses.KLDivergence``, ``keras.config.epsilon``). Rows with an element that is not finite are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.feeds import Array

FLOOR = 1e-7
"""What zeros of the output are raised to, and all that is smaller."""

_REFERENCE_MISS = 1e-3
_OUTPUT_MISS = 0.1


class Divergence:
    """Kullback-Leibler divergence in nats, gathered block by block: the mean over the rows of a sample, and over all.

    Attributes:
        why: Why there is none; empty as long as there may be one.
        distribution: Whether the reference is one, as far as it was seen.

    Args:
        reference, output: Samples first, ``(samples, ..., classes)``; here only their shape and type are looked at.
    """

    def __init__(self, reference: Array, output: Array) -> None:
        import numpy as np

        fits = reference.ndim >= 2 and reference.shape[-1] >= 2 and reference.dtype.kind == "f"
        self.distribution = fits
        self.why = "" if fits else "the reference is no probability distribution"
        if fits and output.dtype.kind != "f":
            self.why = "the output is no probability distribution: it holds whole numbers"
        self._sums, self._rows = np.zeros(len(reference)), np.zeros(len(reference), np.int64)

    def add(self, start: int, reference: Array, output: Array) -> None:
        """Take in the samples from ``start`` on, shaped as they are."""
        import numpy as np

        if not self.distribution:
            return
        expected = reference.astype(np.float64).reshape(-1, reference.shape[-1])
        finite = np.isfinite(expected).all(axis=1)
        sums = expected.sum(axis=1)
        if (expected[finite] < 0).any() or (np.abs(sums[finite] - 1) > _REFERENCE_MISS).any():
            self.distribution, self.why = False, "the reference is no probability distribution"
        if self.why:
            return
        found = output.astype(np.float64).reshape(expected.shape)
        finite &= np.isfinite(found).all(axis=1)
        found_sums = found.sum(axis=1)
        self.why = _fault(found[finite], found_sums[finite])
        if self.why:
            return
        rows = np.zeros(len(expected))
        rows[finite] = _divergence(expected[finite] / sums[finite, None], found[finite] / found_sums[finite, None])
        here = slice(start, start + len(reference))
        self._sums[here] = rows.reshape(len(reference), -1).sum(axis=1)
        self._rows[here] = finite.reshape(len(reference), -1).sum(axis=1)

    @property
    def value(self) -> float | None:
        """Over all rows; ``None`` without one."""
        rows = int(self._rows.sum())
        return float(self._sums.sum()) / rows if rows and not self.why else None

    @property
    def each(self) -> Array | None:
        """Of each sample, ``(samples,)``, NaN where no row counts; ``None`` without a divergence."""
        import numpy as np

        if self.why:
            return None
        with np.errstate(invalid="ignore"):
            return self._sums / self._rows


def _fault(rows: Array, sums: Array) -> str:
    """Why rows are no distributions; empty when they are."""
    import numpy as np

    if (rows < 0).any():
        return f"the output is no probability distribution: its smallest value is {float(rows.min()):.3g}"
    if (np.abs(sums - 1) > _OUTPUT_MISS).any():
        return (
            "the output is no probability distribution: "
            f"its rows sum to {float(sums.min()):.3g} at least and {float(sums.max()):.3g} at most"
        )
    return ""


def _divergence(expected: Array, found: Array) -> Array:
    """Of each row; the floor may make it less than 0 by a rounding."""
    import numpy as np
    from scipy.special import rel_entr

    divergence: Array = np.maximum(rel_entr(expected, np.maximum(found, FLOOR)).sum(axis=1), 0.0)
    return divergence
