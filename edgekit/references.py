"""Outputs of source models: computed once per model and data, kept by content hash, and used again.

Two hashes lead to them. That of the model, its options and the versions of its framework leads to its signature; with
the data fitted to that, the hash of the fitted data leads to the outputs. What cannot be told by a hash (code in a
package, code inside the file) is run each time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cattrs
import numpy as np

from edgekit import data as datasets
from edgekit import feeds, registry
from edgekit.calibration import cache_folder, version_of
from edgekit.data import RANDOM_SAMPLES, SEED, Dataset
from edgekit.jobs import Workers
from edgekit.options import SourceOptions
from edgekit.publish import sha256
from edgekit.source import identify_source, open_source
from edgekit.types import Signature, from_json, to_json

KEPT_ENTRIES = 100
KEPT_BYTES = 2_000_000_000
"""Of all entries together; the oldest go first, by when they were last used."""

_FOLDER = "references"
_RANDOM = f"{RANDOM_SAMPLES} random samples, seed {SEED}"
_MOST_FILES = 1000
_HALF = 2  # an entry that takes more than half of the room would drive out all others
_LEFT_OVER_S = 3600.0


@dataclass(frozen=True)
class ReferenceOutputs:
    """What a source model computes.

    Attributes:
        feeds: The samples, a feeds folder.
        outputs: Its outputs on them, a feeds folder.
        notes: What reading it had to say.
        reused: Whether an earlier command had computed them.
    """

    feeds: Path
    outputs: Path
    notes: tuple[str, ...]
    reused: bool


def run(
    path: Path, workers: Workers, *, options: SourceOptions, dataset: Dataset | None, fresh: bool = False
) -> ReferenceOutputs:
    """Outputs of a source model on all samples, kept ones where there are any.

    Args:
        path: The model file.
        workers: Run the child; files go to their scratch folder.
        options: How to read it.
        dataset: The samples; seeded random ones when there is none.
        fresh: Run it in any case, and keep that in place of what was kept.

    Raises:
        EdgekitError: The model could not be read or run, or the data does not fit.
    """
    key = model_key(path, options, dataset)
    if key is not None and not fresh:
        kept = _reuse(key, dataset, workers)
        if kept is not None:
            return kept
    opened = open_source(path, workers, options=options, data=dataset, samples=None, program=False)
    found = ReferenceOutputs(opened.feeds, opened.reference, opened.notes, reused=False)
    if key is not None:
        _keep(key, opened.signature, found, dataset is None)
    return found


def model_key(path: Path, options: SourceOptions, dataset: Dataset | None) -> str | None:
    """Hash of what the outputs depend on beside the samples; ``None`` where no hash can tell.

    Args:
        path: The model file or folder.
        options: How to read it.
        dataset: Of which names and shapes count: a model that leaves its sizes open takes them from there.
    """
    plugin, _ = identify_source(path)
    code = options.model_code
    if options.trust or options.layouts or (code is not None and not code.rpartition(":")[0].endswith(".py")):
        return None
    parts = [path, *([] if code is None else [Path(code.rpartition(":")[0])])]
    beside = [_beside(part) for part in parts]
    if any(found is None for found in beside):
        return None
    conditions = {
        "content": sha256(path),
        "code": code,
        "beside": beside,
        "options": {name: value for name, value in to_json(options).items() if name != "timeout_s"},
        "data": None if dataset is None else _outline(dataset),
        "source": plugin.name,
        "versions": [version_of(name) for name in (*plugin.packages, "numpy", "edgekit")],
    }
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]


def _outline(dataset: Dataset) -> list[Any]:
    arrays = [[name, str(array.dtype), list(array.shape)] for name, array in dataset.arrays.items()]
    found = dataset.pictures
    seen = None if found is None else [len(found.files), dict(found.sizes), dict(found.modes), found.preprocess]
    return [arrays, dataset.one_file_each, dataset.items, list(dataset.columns), seen]


def _beside(path: Path) -> list[list[Any]] | None:
    """What a file may load as well: Python files below the folder of code, and what any of them names.

    Returns:
        ``None`` where there are too many to look at.
    """
    if path.is_dir():
        return []
    folder = path.absolute().parent
    readers = [path.absolute()]
    files = list(_below(folder)) if path.suffix == ".py" else [file for file in folder.iterdir() if file.is_file()]
    if len(files) > _MOST_FILES:
        return None
    if path.suffix == ".py":
        readers = [file for file in files if file.suffix == ".py"]
    found = [[str(file.relative_to(folder)), sha256(file)] for file in readers]
    named = sorted({other for reader in readers for other in _named(reader, files)} - set(readers))
    return found + [[str(other.relative_to(folder)), sha256(other)] for other in named]


def _named(reader: Path, files: Iterable[Path]) -> list[Path]:
    """The files whose names stand in another one."""
    if reader.stat().st_size == 0:
        return []
    with reader.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [other for other in files if content.find(other.name.encode()) >= 0]


def _below(folder: Path) -> Iterator[Path]:
    """Files below a folder, one more than may be looked at; what Python compiles and hidden folders left out."""
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            yield Path(place, name)
            count += 1
            if count > _MOST_FILES:
                return


def _reuse(key: str, dataset: Dataset | None, workers: Workers) -> ReferenceOutputs | None:
    """What was kept; ``None`` where there is nothing, or where it is damaged."""
    into = workers.scratch / f"kept-{key}"
    try:
        signature = from_json(Signature, json.loads((_place(key) / "signature.json").read_text()))
        made = None if dataset is None else _bound(dataset, signature, into / "feeds")
        entry = _place(key) / (_RANDOM if made is None else registry.function("profiles.conditions:hash_of")(made))
        shutil.copytree(entry, into / "entry")
        told = json.loads((into / "entry" / "entry.json").read_text())
        if told["files"] != _digests(into / "entry"):
            raise ValueError("damaged")
        samples = into / "entry" / "feeds" if made is None else made
        notes = (*told["notes"], f"The outputs of this model on these samples were kept on {told['made']}, and not "
                 "computed again; --fresh does.")  # fmt: skip
        os.utime(entry)
    except (OSError, ValueError, KeyError, TypeError, cattrs.BaseValidationError):
        # Nothing is kept, or another command removes it, or a full disk has cut it: then it is computed.
        shutil.rmtree(into, ignore_errors=True)
        return None
    outputs = into / "entry" / "outputs"
    return ReferenceOutputs(samples, outputs, notes, reused=True)


def _bound(dataset: Dataset, signature: Signature, into: Path) -> Path:
    """The data as the source would have it: all samples, in their order."""
    everything = datasets.bind(dataset, signature)
    feeds.write_some(into, everything, np.arange(everything.count))
    return into


def _keep(key: str, signature: Signature, found: ReferenceOutputs, random: bool) -> None:
    """Put outputs into the cache; one that cannot be written costs time at the next command, and nothing else."""
    place = _place(key)
    entry = place / (_RANDOM if random else registry.function("profiles.conditions:hash_of")(found.feeds))
    partial = place / f".{entry.name}.{os.getpid()}.partial"
    if _bytes_of(found.outputs) > KEPT_BYTES // _HALF:
        return
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _copy(found.outputs, partial / "outputs")
        if random:
            _copy(found.feeds, partial / "feeds")
        told = {"made": time.strftime("%Y-%m-%d %H:%M"), "notes": list(found.notes), "files": _digests(partial)}
        (partial / "entry.json").write_text(json.dumps(told, indent=1) + "\n")
        temporary = partial / "signature.json"
        temporary.write_text(json.dumps(to_json(signature)) + "\n")
        temporary.replace(place / "signature.json")
        if entry.exists():  # an older one, or one that another command has just made: both are whole or gone
            shutil.rmtree(entry, ignore_errors=True)
        partial.rename(entry)
        _tidy()
    except OSError:
        return
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(folder: Path, into: Path) -> None:
    """Samples without their labels, which are no part of what a model computes."""
    content = feeds.read(folder)
    feeds.write(into, feeds.Feeds(content.arrays, origin=content.origin))
    if content.places is not None:
        np.save(into / "places.npy", content.places, allow_pickle=False)


def _digests(entry: Path) -> dict[str, str]:
    """Of all files in an entry but the one that holds them."""
    files = (file for file in sorted(entry.rglob("*")) if file.is_file() and file.name != "entry.json")
    return {str(file.relative_to(entry)): sha256(file) for file in files}


def _tidy() -> None:
    """Remove what was used longest ago, and what a command that was killed has left."""
    root = cache_folder() / _FOLDER
    now, entries = time.time(), []
    for entry in root.glob("*/*"):
        try:
            used = entry.stat().st_mtime
        except FileNotFoundError:  # another command removed it
            continue
        if entry.name.endswith(".partial"):
            if now - used > _LEFT_OVER_S:
                shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_dir():
            entries.append((used, entry))
    total = 0
    for count, (_, entry) in enumerate(sorted(entries, reverse=True), start=1):
        total += _bytes_of(entry)
        if count > KEPT_ENTRIES or total > KEPT_BYTES:
            shutil.rmtree(entry, ignore_errors=True)
    for place in root.iterdir():
        _remove_if_empty(place)


def _remove_if_empty(place: Path) -> None:
    """A model's folder in which no outputs are left."""
    try:
        left = [item.name for item in place.iterdir()]
        if left == ["signature.json"]:
            shutil.rmtree(place, ignore_errors=True)
    except OSError:  # another command removed it
        return


def _bytes_of(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # another command removed it
            continue
    return total


def _place(key: str) -> Path:
    return cache_folder() / _FOLDER / key
