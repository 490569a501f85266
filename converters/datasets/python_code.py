"""``FILE.py:NAME``: a function of the user's that gives samples. Naming it lets edgekit run it, in a child."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from converters.datasets._collect import LIMIT, as_array, collect, named_arrays
from converters.user_code import folders_of, guarded, import_code, split, user_imports
from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError, UsageError
from edgekit.plugins import DataFormat

_ACCEPTED = "It gives (or yields) arrays, {'input': array, …}, (inputs, labels), or a DataLoader or Dataset of those."


def identify(path: str) -> bool:
    """Whether a Python file is named, with something in it or not."""
    file, _, name = path.rpartition(":")
    return file.endswith(".py") or (name.endswith(".py") and Path(path).is_file())


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Call the function and put what it gives on disk."""
    where = f"--data {path}"
    if Path(path).is_file():
        raise UsageError(f"{where}: the name of a function is missing.", hint=f"--data {path}:NAME")
    split(path, option="--data")
    with user_imports(*folders_of(path, Path(path))):
        found = _called(path, where)
        whole = _whole(found, where)
        if whole is not None:
            return whole
        return _of_items(found, where, into, advance)


def _called(path: str, where: str) -> Any:
    module, name = import_code(path, option="--data")
    if not hasattr(module, name):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise UsageError(f"{where}: {module.__name__} has no {name!r}.", hint=f"It has {', '.join(public)}.")
    found = getattr(module, name)
    is_data = hasattr(found, "__getitem__") or hasattr(found, "__iter__")
    if callable(found) and (isinstance(found, type) or not is_data):
        return guarded(where, found)
    return found


def _whole(found: Any, where: str) -> Dataset | None:
    """All samples at once: an array, a tuple or a dictionary of arrays; ``None`` where they come one by one."""
    if found is None:
        raise DataError(f"{where}: it gave nothing.", hint=_ACCEPTED)
    if isinstance(found, tuple) or hasattr(found, "dtype"):
        given = named_arrays(found)
    elif isinstance(found, Mapping):
        given = {str(name): value for name, value in found.items()}
    else:
        return None
    arrays = {name: as_array(value, name, where) for name, value in given.items()}
    scalar = next((name for name, array in arrays.items() if not array.ndim), None)
    if scalar is not None:
        raise DataError(f"{where}: {scalar!r} is a single number, not an array of samples.", hint=_ACCEPTED)
    return Dataset(where.removeprefix("--data "), arrays)


def _of_items(found: Any, where: str, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    loader = hasattr(found, "batch_size") and hasattr(found, "dataset")  # torch's DataLoader
    items: Iterable[Any]
    if hasattr(found, "__iter__"):
        items = found
    elif hasattr(found, "__getitem__") and hasattr(found, "__len__"):  # torch's Dataset need not raise IndexError
        items = (found[index] for index in range(len(found)))
    else:
        raise DataError(f"{where}: it gave {type(found).__name__}.", hint=_ACCEPTED)
    named = (lambda item: named_arrays(tuple(item) if isinstance(item, list) else item)) if loader else named_arrays
    total = len(found) if hasattr(found, "__len__") else None
    return collect(_guarded(items, where), named, where, into, advance, total)


def _guarded(items: Iterable[Any], where: str) -> Iterator[Any]:
    """The items of user code; what it raises on the way is told with the user's own line."""
    iterator = iter(items)
    nothing = object()
    for _ in range(LIMIT + 1):
        item = guarded(where, next, iterator, nothing)
        if item is nothing:
            return
        yield item


DATA = DataFormat(
    name="python_code",
    title="FILE.py:NAME, a function of yours",
    identify=identify,
    read="converters.datasets.python_code:read",
    child=True,
)
