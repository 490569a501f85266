"""Constants that follow open sizes: rules that are found by comparing them at several sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_NUMBERS = 64
"""Elements that a tensor of sizes has at most."""


@dataclass(frozen=True)
class Formula:
    """A whole number that depends on open sizes, as a polynomial without powers.

    Attributes:
        terms: Factors, with the names of the sizes that each is multiplied by.
    """

    terms: tuple[tuple[int, tuple[str, ...]], ...]

    def at(self, sizes: Mapping[str, Any]) -> Any:
        """Its value for sizes, which may be ``torch.SymInt``; then it is one, too."""
        total: Any = None
        for factor, names in self.terms:
            product = math.prod((sizes[name] for name in names[1:]), start=sizes[names[0]]) if names else factor
            if names and factor != 1:
                product = product * factor
            total = product if total is None else total + product
        return 0 if total is None else total

    @property
    def fixed(self) -> int | None:
        """The number, where no size is in it."""
        if any(names for _, names in self.terms):
            return None
        return sum(factor for factor, _ in self.terms)


@dataclass(frozen=True)
class Fit:
    """Where things were compared.

    Attributes:
        pairs: Two sizes for each open axis; the first points are all their combinations, in this order.
        points: All of them; the last has the largest sizes.
    """

    pairs: tuple[tuple[int, ...], ...]
    points: tuple[Mapping[str, int], ...]

    def formula(self, values: Sequence[int]) -> Formula | None:
        """The formula that has these values at the points; ``None`` where there is none with whole factors."""
        terms = _terms(list(self.points[0]), self.pairs, values[: 2 ** len(self.pairs)])
        if terms is None:
            return None
        found = Formula(tuple((factor, names) for names, factor in terms.items() if factor))
        agrees = all(found.at(point) == value for point, value in zip(self.points, values, strict=True))
        return found if agrees else None


def _terms(
    names: Sequence[str], pairs: Sequence[Sequence[int]], values: Sequence[int]
) -> dict[tuple[str, ...], int] | None:
    """Factors by sizes: differences along one axis after the other."""
    if not names:
        return {(): int(values[0])}
    half = len(values) // 2
    low, high = (_terms(names[1:], pairs[1:], part) for part in (values[:half], values[half:]))
    if low is None or high is None:
        return None
    first, second = pairs[0]
    found: dict[tuple[str, ...], int] = {}
    for key, value in low.items():
        slope, rest = divmod(high[key] - value, second - first)
        if rest:
            return None
        found[key] = value - slope * first
        found[(names[0], *key)] = slope
    return found


class Rule:
    """How a constant follows the open sizes."""

    def kept(self) -> Any:
        """What the program keeps of it, a tensor; ``None`` where that is nothing."""
        return None

    def fixed(self) -> Any:
        """The constant, where it turns out to be one for all sizes; else ``None``."""
        return None

    def number(self, sizes: Mapping[str, Any]) -> Any:
        """As a NumPy array of Python numbers, ``torch.SymInt`` among them: for rules that keep nothing."""
        raise NotImplementedError

    def tensor(self, sizes: Mapping[str, Any], stored: Any) -> Any:
        """As a tensor, made of what :meth:`kept` gave: for rules that keep something."""
        raise NotImplementedError


@dataclass(frozen=True)
class Numbers(Rule):
    """A few whole numbers, such as the sizes that a Reshape takes.

    Attributes:
        shape: Of the tensor.
        formulas: One for each element.
    """

    shape: tuple[int, ...]
    formulas: tuple[Formula, ...]

    def fixed(self) -> Any:
        """See :class:`Rule`."""
        import torch

        known = [formula.fixed for formula in self.formulas]
        return None if None in known else torch.tensor(known, dtype=torch.int64).reshape(self.shape)

    def number(self, sizes: Mapping[str, Any]) -> Any:
        """See :class:`Rule`."""
        import numpy as np

        found = np.empty(len(self.formulas), object)
        for place, formula in enumerate(self.formulas):
            found[place] = formula.at(sizes)
        return found.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Part(Rule):
    """A tensor of which there is more or less: its beginning along some axes, the same again along others.

    Attributes:
        stored: At the largest sizes, and one longer: torch takes the whole of a tensor for a fixed size. Of size 1
            along axes where it repeats.
        lengths: Formula by axis, of those along which it is cut.
        repeats: Formula by axis, of those along which it repeats.
    """

    stored: Any
    lengths: Mapping[int, Formula]
    repeats: Mapping[int, Formula]

    def kept(self) -> Any:
        """See :class:`Rule`."""
        return self.stored

    def tensor(self, sizes: Mapping[str, Any], stored: Any) -> Any:
        """See :class:`Rule`."""
        found = stored
        for axis, formula in self.lengths.items():
            found = found.narrow(axis, 0, formula.at(sizes))
        if not self.repeats:
            return found
        shape = [
            self.repeats[axis].at(sizes) if axis in self.repeats else size for axis, size in enumerate(found.shape)
        ]
        return found.expand(shape)


def numbers(tensors: Sequence[Any], fit: Fit) -> Numbers | None:
    """The rule for a few whole numbers."""
    first = tensors[0]
    same = all(item.shape == first.shape for item in tensors)
    if not same or first.is_floating_point() or first.is_complex() or first.numel() > _MOST_NUMBERS:
        return None
    return _numbers(tuple(first.shape), zip(*(item.reshape(-1).tolist() for item in tensors), strict=True), fit)


def _numbers(shape: tuple[int, ...], columns: Any, fit: Fit) -> Numbers | None:
    formulas = [fit.formula([int(value) for value in column]) for column in columns]
    return None if None in formulas else Numbers(shape, tuple(item for item in formulas if item is not None))


def part(tensors: Sequence[Any], fit: Fit) -> Part | None:
    """The rule for a tensor that only its length tells from the others."""
    import torch

    last = tensors[-1]
    if any(item.dim() != last.dim() or item.dtype != last.dtype for item in tensors):
        return None
    lengths: dict[int, Formula] = {}
    repeats: dict[int, Formula] = {}
    stored = last
    for axis in range(last.dim()):
        sizes = [int(item.shape[axis]) for item in tensors]
        if len(set(sizes)) == 1:
            continue
        formula = fit.formula(sizes)
        if formula is None or max(sizes) != sizes[-1]:
            return None
        beginning = stored.narrow(axis, 0, 1)
        repeated = all_equal([stored, beginning.expand(stored.shape)])
        (repeats if repeated else lengths)[axis] = formula
        stored = beginning if repeated else stored
    for axis in lengths:
        stored = torch.cat([stored, stored.narrow(axis, -1, 1)], axis)
    found = Part(stored.clone(memory_format=torch.contiguous_format), lengths, repeats)
    agrees = all(
        all_equal([item, found.tensor(point, found.stored)]) for item, point in zip(tensors, fit.points, strict=True)
    )
    return found if agrees else None


Shapes = Sequence[tuple[int, ...]]
"""Of one tensor at every point."""


def reshaped(before: Shapes, after: Shapes, fit: Fit, zeros: bool) -> Numbers | None:
    """The sizes of a Reshape: what is fixed, ``0`` for what stays, ``-1`` for the one that is left.

    Args:
        before: Of its data.
        after: Of its result.
        fit: Where these were compared.
        zeros: Whether a zero means the size of the data.
    """
    columns = [list(column) for column in zip(*after, strict=True)]
    open_ = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    for place in open_ if len(open_) > 1 and zeros else ():
        if all(len(shape) > place for shape in before) and columns[place] == [shape[place] for shape in before]:
            columns[place] = [0] * len(columns[place])
    left = [place for place in open_ if any(columns[place])]
    hopeless = [place for place in left if fit.formula(columns[place]) is None]
    if len(left) == 1 or len(hopeless) == 1:
        place = (hopeless or left)[0]
        columns[place] = [-1] * len(columns[place])
    return _numbers((len(columns),), columns, fit)


def expanded(before: Shapes, after: Shapes, fit: Fit) -> Numbers | None:
    """The sizes of an Expand: ``1`` for what stays as the data has it."""
    columns = [list(column) for column in zip(*after, strict=True)]
    shift = len(after[0]) - len(before[0])
    for place, column in enumerate(columns):
        if place >= shift and column == [shape[place - shift] for shape in before]:
            columns[place] = [1] * len(column)
    return _numbers((len(columns),), columns, fit)


def all_equal(tensors: Sequence[Any]) -> bool:
    """Whether tensors have one dtype, shape and content, bit for bit."""
    import torch

    first = tensors[0]

    def same(other: Any) -> bool:
        if other is first:
            return True
        if other.shape != first.shape or other.dtype != first.dtype:
            return False
        return bool(torch.equal(first, other)) or _bits(first) == _bits(other)

    return all(map(same, tensors[1:]))


def _bits(tensor: Any) -> bytes:
    """Content as it is stored: equal where two have the same NaN."""
    import torch

    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def short(tensor: Any) -> Any:
    """A tensor for a message."""
    kind = str(tensor.dtype).removeprefix("torch.")
    return tensor.tolist() if tensor.numel() <= 8 else f"{kind}{list(tensor.shape)}"
