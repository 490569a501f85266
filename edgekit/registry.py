"""Finds what converters and profiles can do, by listing their folders.

This is the only place through which ``edgekit`` reaches the two other packages, apart from jobs. Plugin files are
light, so finding them imports no framework.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from edgekit.device_plugins import ConnectOptions, Device, DeviceKind
from edgekit.errors import EdgekitError, MissingDependencyError, UnsupportedError
from edgekit.plugins import Calibration, DataFormat, Metric, Relayout, Runtime, Source, Step, Tap, Target, Task
from edgekit.types import Scheme

T = TypeVar("T")


@cache
def sources() -> dict[str, Source]:
    """All sources, by name."""
    return _by_name(_attributes("converters.sources", "SOURCE"))


@cache
def targets() -> dict[str, Target]:
    """All targets, by name."""
    return _by_name(folder.TARGET for folder in _folders("converters") if hasattr(folder, "TARGET"))


@cache
def steps() -> tuple[Step, ...]:
    """All conversion steps: of all targets, and of folders that make another form and say so (``FORM``).

    Those have their steps in files called ``from_<form>.py``: the others may import a framework.
    """
    found: list[Step] = []
    for folder in _folders("converters"):
        prefix = "" if hasattr(folder, "TARGET") else "from_"
        if not prefix or hasattr(folder, "FORM"):
            for group in _attributes(folder.__name__, "STEPS", prefix):
                found += group
    return tuple(found)


@cache
def calibrations() -> dict[str, Calibration]:
    """How each form is calibrated, by form."""
    found = (module.CALIBRATION for folder in _folders("converters") for module in _named(folder, "calibrate"))
    return {calibration.form: calibration for calibration in found}


@cache
def relayouts() -> dict[str, Relayout]:
    """How each form gets other layouts, by form."""
    found = (module.RELAYOUT for folder in _folders("converters") for module in _named(folder, "relayout"))
    return {relayout.form: relayout for relayout in found}


@cache
def taps() -> dict[str, Tap]:
    """How files of each form show their inner tensors, by form."""
    found = (module.TAP for folder in _folders("converters") for module in _named(folder, "tap"))
    return {tap.form: tap for tap in found}


@cache
def tasks() -> dict[str, Task]:
    """All tasks, by name, those that are asked first in front."""
    found = _by_name(_attributes("profiles.tasks", "TASK"))
    return dict(sorted(found.items(), key=lambda item: item[1].rank))


@cache
def data_formats() -> dict[str, DataFormat]:
    """All formats of data, by name."""
    return _by_name(_attributes("converters.datasets", "DATA"))


@cache
def schemes() -> dict[str, Scheme]:
    """All quantization schemes, by name, ``float32`` first."""
    return dict(importlib.import_module("converters.schemes").SCHEMES)


@cache
def runtimes() -> dict[str, Runtime]:
    """All runtimes, by name."""
    modules = (module for module in _modules("profiles.runtimes") if hasattr(module, "NAME"))
    return {module.NAME: cast(Runtime, module) for module in modules}


@cache
def metrics() -> dict[str, Metric]:
    """All metrics, by name."""
    return _by_name(_attributes("profiles.metrics", "METRIC"))


@cache
def devices() -> dict[str, DeviceKind]:
    """All kinds of devices, by name."""
    return _by_name(_attributes("profiles.devices", "DEVICE"))


@cache
def host() -> Device:
    """This machine."""
    return devices()["host"].connect("host", ConnectOptions(scratch=Path(tempfile.gettempdir())))


def function(entry: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names; for light ones, which need no child."""
    module, _, name = entry.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def identify_source(path: Path) -> tuple[Source, str] | None:
    """The source whose file or folder this is, by content, and its kind in words."""
    for source in sources().values():
        kind = source.identify(path) if source.folders or not path.is_dir() else None
        if kind is not None:
            return source, kind
    return None


def identify(path: Path) -> tuple[Source | Target, str]:
    """The target or source whose file this is, by content, and the kind of file in words.

    Raises:
        UnsupportedError: No source or target knows the content.
    """
    for target in targets().values():
        kind = None if path.is_dir() else target.identify(path)
        if kind is not None:
            return target, kind
    found = identify_source(path)
    if found is not None:
        return found
    titles = [*(source.title for source in sources().values()), *(target.title for target in targets().values())]
    known = ", ".join(dict.fromkeys(titles))
    if path.is_dir():
        raise UnsupportedError(f"{path}: not a model folder that edgekit knows.", hint=_folder_hint(path))
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise UnsupportedError(f"{path}: a Git LFS pointer, not the model itself.", hint="git lfs pull")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UnsupportedError(
            f"{path}: a web page, not a model file.", hint="Download it again from the link to the file itself."
        )
    raise UnsupportedError(
        f"{path}: not a model file that edgekit knows (it starts with {start[:8]!r}; the suffix is not looked at).",
        hint=f"Known: {known}. If the file was downloaded, check that it is complete.",
    )


def _folder_hint(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = f"It holds {', '.join(names[:6])}{'…' if len(names) > 6 else ''}. " if names else "It is empty. "
    kinds = ", ".join(source.title for source in sources().values() if source.folders)
    return shown + (f"Folders may be: {kinds}. Else name a file in it." if kinds else "Name a file in it.")


def require(packages: Iterable[str], extra: str, purpose: str) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        MissingDependencyError: Names the extra that installs what is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{purpose} needs {', '.join(missing)}, which is not installed.",
            hint=f"pip install 'edgekit[{extra}]'   (edgekit doctor shows everything that is missing)",
        )


def check_no_shadow() -> None:
    """Notice foreign packages that are imported in place of edgekit's own.

    Raises:
        EdgekitError: Another ``converters`` or ``profiles`` comes first on ``sys.path``.
    """
    own = Path(__file__).parent.parent
    for name in ("converters", "profiles"):
        spec = importlib.util.find_spec(name)
        found = [Path(place).parent for place in (spec.submodule_search_locations or [])] if spec else []
        if own not in found:
            raise EdgekitError(
                f"Python finds another package called {name!r} before edgekit's own"
                + (f", in {found[0]}." if found else "."),
                hint="Remove that folder from PYTHONPATH, or uninstall the package that brings it.",
            )


def _modules(package: str, folders_only: bool = False, prefix: str = "") -> Iterator[ModuleType]:
    """The public modules of a package whose names begin like that, in the order of their names."""
    places = importlib.import_module(package).__path__
    for info in sorted(pkgutil.iter_modules(places), key=lambda info: info.name):
        if info.name.startswith(prefix) and not info.name.startswith("_") and (info.ispkg or not folders_only):
            yield importlib.import_module(f"{package}.{info.name}")


def _folders(package: str) -> Iterator[ModuleType]:
    return _modules(package, folders_only=True)


def _named(folder: ModuleType, name: str) -> Iterator[ModuleType]:
    """The module of that name in a folder, if there is one."""
    if importlib.util.find_spec(f"{folder.__name__}.{name}") is not None:
        yield importlib.import_module(f"{folder.__name__}.{name}")


def _attributes(package: str, attribute: str, prefix: str = "") -> Iterator[Any]:
    for module in _modules(package, prefix=prefix):
        if hasattr(module, attribute):
            yield getattr(module, attribute)


def _by_name(plugins: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for plugin in plugins:
        if plugin.name in found:
            raise EdgekitError(f"Two plugins are called {plugin.name!r}.", hint="Rename one of the two files.")
        found[plugin.name] = plugin
    return found
