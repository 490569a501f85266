"""What of edgekit's extras is installed, and which packages get into each other's way. None is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NOT_FOR_USERS = ("all", "dev")


@dataclass(frozen=True)
class Package:
    """One package that edgekit, or an extra of it, asks for.

    Attributes:
        name: Of the distribution.
        required: The range of versions.
        installed: The version that is there, or ``None``.
        fits: Whether that is in the range.
    """

    name: str
    required: str
    installed: str | None
    fits: bool


@dataclass(frozen=True)
class Extra:
    """One extra of edgekit; the empty name stands for what it always needs.

    Attributes:
        name: As in ``edgekit[name]``.
        packages: What it asks for.
        command: That installs it.
    """

    name: str
    packages: tuple[Package, ...]
    command: str

    @property
    def complete(self) -> bool:
        """Whether everything is there in a version that fits."""
        return all(package.fits for package in self.packages)


@dataclass(frozen=True)
class Finding:
    """Something about the installed packages.

    Attributes:
        problem: Whether it breaks something; else it is good to know.
        what: What was found.
        fix: What to type; empty for a remark.
    """

    problem: bool
    what: str
    fix: str = ""


def extras() -> tuple[Extra, ...]:
    """What edgekit always needs, then each extra a user can ask for."""
    metadata = importlib.metadata.metadata("edgekit")
    names = [name for name in metadata.get_all("Provides-Extra") or [] if name not in _NOT_FOR_USERS]
    found = [Extra("", _packages("edgekit", ""), "pip install edgekit")]
    for name in sorted(names):
        found.append(Extra(name, _packages("edgekit", name), f"pip install 'edgekit[{name}]'"))
    return tuple(found)


def findings(asked: Sequence[Extra]) -> tuple[Finding, ...]:
    """Clashes, broken versions and broken installations among edgekit's packages and all they need.

    Args:
        asked: The result of :func:`extras`.
    """
    unfit = [
        Finding(
            problem=True,
            what=f"{package.name} {package.installed} is installed; edgekit's range is {package.required}.",
            fix=f"pip install '{package.name}{package.required}'",
        )
        for package in {package.name: package for extra in asked for package in extra.packages}.values()
        if package.installed and not package.fits
    ]
    return (*unfit, *_clashes(), *_broken(asked), *_gutted(asked))


def version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(distribution: str, extra: str) -> tuple[Package, ...]:
    """What an extra asks for, extras within it resolved; without what the distribution always needs."""
    found: dict[str, Package] = {}
    for requirement in _requirements(distribution):
        if not _is_asked(requirement, extra):
            continue
        if requirement.name == distribution:
            inner = [_packages(distribution, name) for name in sorted(requirement.extras)]
            found |= {package.name: package for packages in inner for package in packages}
        else:
            found[requirement.name] = _package(requirement)
    return tuple(found.values())


def _is_asked(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    if marker is None:
        return not extra
    always = marker.evaluate({"extra": ""})
    return bool(always) if not extra else bool(marker.evaluate({"extra": extra}) and not always)


def _package(requirement: Requirement) -> Package:
    installed = version(requirement.name)
    fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
    # Lower bounds first, as people write them.
    bounds = ",".join(sorted(map(str, requirement.specifier), reverse=True))
    return Package(requirement.name, bounds, installed, fits)


@cache
def _requirements(distribution: str) -> tuple[Requirement, ...]:
    from packaging.requirements import Requirement

    return tuple(Requirement(line) for line in importlib.metadata.requires(distribution) or ())


def _clashes() -> Iterator[Finding]:
    """Distributions that do not get along."""
    if version("tensorflow") and version("tensorflow-cpu"):
        yield Finding(
            problem=True,
            what="tensorflow and tensorflow-cpu are both installed and overwrite each other's files.",
            fix="pip uninstall -y tensorflow tensorflow-cpu && pip install 'edgekit[tensorflow]'",
        )
    builds = [name for name in ("onnxruntime-gpu", "onnxruntime-openvino", "ort-nightly") if version(name)]
    if version("onnxruntime") and builds:
        both = " ".join(["onnxruntime", *builds])
        yield Finding(
            problem=True,
            what=f"{' and '.join(['onnxruntime', *builds])} overwrite each other's files.",
            fix=f"pip uninstall -y {both} && pip install 'edgekit[onnx]'",
        )
    if _cuda_of("torch") is None and _cuda_of("torchvision"):
        yield Finding(
            problem=True,
            what="torchvision is a CUDA build and torch is not: 'import torchvision' fails (no operator "
            "torchvision::nms), and with it models built from it.",
            fix="install the torchvision of the same index that torch came from",
        )
    for old, new in (("tflite-runtime", "ai-edge-litert"), ("ai-edge-quantizer", "litert-quantizer")):
        if version(old) and version(new):
            yield Finding(False, f"{old} is the older name of {new}; edgekit uses {new}, the other is harmless.")


def _cuda_of(module: str) -> str | None:
    """The CUDA version a package of PyTorch was built for, as its version file says it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "version.py"
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", file.read_text(), re.MULTILINE) if file.exists() else None
    return found.group(1) if found else None


def _broken(asked: Sequence[Extra]) -> Iterator[Finding]:
    """What ``pip check`` would say about edgekit's packages and what they need."""
    todo = [package.name for extra in asked for package in extra.packages if package.installed]
    seen: set[str] = set()
    while todo:
        name = _canonical(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        for requirement in _requirements(name):
            if not _is_asked(requirement, ""):
                continue
            needed = _package(requirement)
            if not needed.fits:
                state = f"{needed.installed} is installed" if needed.installed else "it is not installed"
                yield Finding(
                    problem=True,
                    what=f"{name} {version(name)} needs {needed.name}{needed.required}; {state}.",
                    fix=f"pip install '{needed.name}{needed.required}'",
                )
            if needed.installed:
                todo.append(needed.name)


def _gutted(asked: Sequence[Extra]) -> Iterator[Finding]:
    """Packages that are registered but whose files are gone, as when a twin was uninstalled."""
    for name in dict.fromkeys(package.name for extra in asked for package in extra.packages if package.installed):
        distribution = importlib.metadata.distribution(name)
        record = distribution.read_text("RECORD") or ""
        first = re.search(r"^([^/,\n]+/__init__\.py),", record, re.MULTILINE)
        if first and not Path(str(distribution.locate_file(first.group(1)))).exists():
            yield Finding(
                problem=True,
                what=f"{name} {version(name)} is registered, but its files are gone ({first.group(1)}).",
                fix=f"pip install --force-reinstall --no-deps {name}=={version(name)}",
            )


def _canonical(name: str) -> str:
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(name))


def as_json(asked: Sequence[Extra]) -> list[Mapping[str, object]]:
    """Extras as plain data, with :attr:`Extra.complete`."""
    from edgekit.types import to_json

    return [{**to_json(extra), "complete": extra.complete} for extra in asked]
