"""Where results go: names, checks before the work, and an atomic move after it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit import recipes
from edgekit.errors import UsageError
from edgekit.recipes import Recipe
from edgekit.types import SCHEMA_VERSION, Artifact, to_json

# Names that Windows keeps for devices; a file called so could not be copied there (Microsoft, "Naming Files").
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Destination:
    """Final place of one artifact; its sidecar lies beside it."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe it was quantized by."""
        return self.path.with_name(self.path.name + ".recipe.toml")

    @property
    def sidecar(self) -> Path:
        """The JSON file that tells what the artifact is."""
        return self.path.with_name(self.path.name + ".json")


def destinations(
    model: Path,
    wanted: Iterable[tuple[str, str, str]],
    output: Path | None,
    force: bool,
    keep: Iterable[Path],
) -> list[Destination]:
    """Decide on names, and refuse before any work what could not be written after it.

    Args:
        model: The source file; its stem names the results.
        wanted: Target, scheme and suffix of each artifact.
        output: ``--output``: a folder, or a file when one artifact is made; the current folder when ``None``.
        force: Whether existing files may be replaced.
        keep: Files that must survive: the model, the data.

    Raises:
        UsageError: A name is taken, reserved or cannot be written.
    """
    names = [f"{model.stem}.{scheme}{suffix}" for _, scheme, suffix in wanted]
    suffixes = [suffix for _, _, suffix in wanted]
    if output is not None and _is_file_name(output, suffixes):
        if len(names) > 1:
            raise UsageError(
                f"--output {output}: one file name for {len(names)} files.",
                hint="Name a folder: --output out/",
            )
        if output.suffix != suffixes[0]:
            raise UsageError(
                f"--output {output}: the file will be {suffixes[0]}, not {output.suffix}.",
                hint=f"--output {output.with_suffix(suffixes[0])}",
            )
        paths = [output]
    else:
        paths = [(output or Path()) / name for name in names]
    _make_folder(paths[0].parent, output)
    kept = {file.resolve() for file in keep}
    for path in paths:
        _check(path, force, kept)
    return [Destination(path) for path in paths]


def _is_file_name(output: Path, suffixes: list[str]) -> bool:
    known = {".tflite", ".onnx", ".pte", *suffixes}
    return not output.is_dir() and output.suffix in known


def _make_folder(folder: Path, output: Path | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"{'--output ' + str(output) if output else 'The current folder'}: nothing can be written to "
            f"{folder.absolute()}.",
            hint="Choose another place: --output FOLDER",
        )


def _check(path: Path, force: bool, kept: set[Path]) -> None:
    if path.name.partition(".")[0].lower() in _RESERVED:
        raise UsageError(
            f"{path}: {path.name.partition('.')[0]!r} is a reserved name on Windows.",
            hint="Choose another: --output NAME",
        )
    for file in (path, Destination(path).sidecar, Destination(path).recipe):
        if file.resolve() in kept:
            raise UsageError(f"{file}: the result would replace a file it is made from.", hint="--output FOLDER")
        if file.is_dir():
            raise UsageError(f"{file}: this is a folder.", hint="Choose another name: --output NAME")
        if file.exists() and not force:
            raise UsageError(f"{file} exists already.", hint="Add --force to replace it, or --output FOLDER.")


def publish(
    made: Path, destination: Destination, artifact: Artifact, source: dict[str, str], recipe: Recipe | None = None
) -> None:
    """Move an artifact, its sidecar and its recipe to their final names, each in one step.

    Args:
        made: The finished file in the scratch folder.
        destination: Where it goes.
        artifact: What the sidecar tells.
        source: Facts about the source file, for the sidecar.
        recipe: That it was quantized by; ``None`` for a float file, which gets none.

    Raises:
        UsageError: The disk is full or the folder cannot be written; no partial file is left.
    """
    content = {"schema_version": SCHEMA_VERSION, "source": source, "artifact": to_json(artifact)}
    sidecar, final = destination.sidecar, destination.path
    with _partial(sidecar) as partial_sidecar, _partial(final) as partial:
        partial_sidecar.write_text(json.dumps(content, indent=2) + "\n")
        shutil.copyfile(made, partial)
        for file in (partial_sidecar, partial):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if recipe is not None:
            with _partial(destination.recipe) as partial_recipe:
                recipes.write(partial_recipe, recipe)
                partial_recipe.replace(destination.recipe)
        # All are whole now. The sidecar first: a model file is never seen without one.
        partial_sidecar.replace(sidecar)
        partial.replace(final)


@contextmanager
def _partial(final: Path) -> Iterator[Path]:
    """A name beside a final one, for a file that is still being written; nothing keeps it."""
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    try:
        yield partial
    except OSError as error:
        raise UsageError(
            f"{final}: cannot be written: {error.strerror or error}.",
            hint="Make room or choose another place: --output FOLDER",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file: all of it or nothing.

    Raises:
        OSError: It cannot be written there.
    """
    with _partial(path) as partial:
        partial.write_text(text)
        partial.replace(path)


def sha256(path: Path) -> str:
    """Hex digest of a file, or of the names and contents of all files in a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for member in sorted(item for item in path.rglob("*") if item.is_file()):
        found.update(f"{member.relative_to(path)}\0{sha256(member)}\0".encode())
    return found.hexdigest()
