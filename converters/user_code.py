"""Running a user's model code, in a child, with the user's own packages in front of edgekit's.

A user's folder may hold packages called ``converters``, ``profiles`` or ``edgekit``. While user code runs, those
names mean the user's; edgekit's modules are put aside and come back afterwards. Functions of edgekit that run inside
must therefore import nothing of edgekit's on the way.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import ConversionError, UsageError
from edgekit.paths import names_like

_OURS = ("edgekit", "converters", "profiles")


@contextmanager
def user_imports(*folders: Path) -> Iterator[None]:
    """Put folders in front of ``sys.path`` and edgekit's modules out of sight."""
    aside = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _OURS}
    for name in aside:
        del sys.modules[name]
    added = [str(folder) for folder in dict.fromkeys(folders)]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
            del sys.modules[name]
        sys.modules.update(aside)
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def folders_of(model_code: str | None, model: Path) -> list[Path]:
    """Where a user's imports may come from: the code's folder, the current one, the model's."""
    folders = [Path.cwd(), model.absolute().parent]
    file, _ = split(model_code) if model_code else ("", "")
    if file.endswith(".py"):
        folders.insert(0, _package_root(Path(file).absolute())[0])
    return folders


def split(model_code: str, option: str = "--model") -> tuple[str, str]:
    """``FILE.py:NAME`` or ``package.module:NAME`` in two; ``option`` is where it was typed, for messages.

    Raises:
        UsageError: There is no name, or the file does not exist.
    """
    place, colon, name = model_code.rpartition(":")
    if not colon or not name:
        raise UsageError(
            f"{option} {model_code}: the name of a class or function is missing.",
            hint=f"{option} {model_code.rstrip(':')}:Net",
        )
    if not place:
        raise UsageError(f"{option} {model_code}: the file or module is missing.", hint=f"{option} FILE.py:{name}")
    if place.endswith(".py") and not Path(place).is_file():
        raise UsageError(
            f"{option} {model_code}: there is no file {place}.",
            hint=names_like(Path(place)) or "Paths count from the current folder.",
        )
    return place, name


def import_code(model_code: str, option: str = "--model") -> tuple[ModuleType, str]:
    """Import the module that an option such as ``--model`` names; call inside :func:`user_imports`.

    Returns:
        The module and the name to look up in it.
    """
    place, name = split(model_code, option)
    try:
        return (_import_file(place) if place.endswith(".py") else importlib.import_module(place)), name
    except Exception as error:
        raise _failed(f"{option} {model_code}: importing it", error) from error


def find(model_code: str) -> Any:
    """Import what ``--model`` names; call inside :func:`user_imports`."""
    module, name = import_code(model_code)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [item for item in vars(module) if not item.startswith("_") and callable(getattr(module, item))]
            raise UsageError(
                f"--model {model_code}: {module.__name__} has no {name!r}.",
                hint=f"It has {', '.join(public)}.",
            )
        found = getattr(found, part)
    return found


def build(model_code: str) -> Any:
    """Call what ``--model`` names; call inside :func:`user_imports`."""
    factory = find(model_code)
    if not callable(factory):
        raise UsageError(
            f"--model {model_code}: {split(model_code)[1]} is a {type(factory).__name__}, not a class or function.",
            hint="Name something that can be called without arguments and returns the network.",
        )
    return guarded(f"--model {model_code}", factory)


def guarded(what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call user code; its exception becomes an error that shows the user's own line."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        raise _failed(what, error) from error


def _failed(what: str, error: Exception) -> ConversionError:
    ours, frames = str(Path(__file__).parent), traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "site-packages" not in frame.filename]
    own = [frame for frame in outside if not frame.filename.startswith(("<", sys.base_prefix, ours))]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else ""
    first, *more = str(error).strip().splitlines() or [""]
    return ConversionError(
        f"{what} raised {type(error).__name__}: {first}{where}", hint="\n".join([*more[:3], *_advice(error, own)])
    )


def _advice(error: Exception, own: list[traceback.FrameSummary]) -> list[str]:
    """What helps against the errors that users meet most."""
    if isinstance(error, TypeError) and not own:  # raised by the call itself
        return ["It is called without arguments: name a function that returns the network."]
    if isinstance(error, ModuleNotFoundError):
        return [f"If {error.name} is a module of yours, run the command in its folder; else pip install it."]
    return []


def _package_root(file: Path) -> tuple[Path, list[str]]:
    """The folder to import a file from, and the parts of its module name: packages are kept whole."""
    parts, folder = [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, parts


def _import_file(place: str) -> ModuleType:
    """Import a file; one that is called like a module in use (``types.py``) still gets to be itself."""
    file = Path(place).absolute()
    parts = _package_root(file)[1]
    importable = parts[0].isidentifier() and parts[0] not in {*sys.modules, *sys.stdlib_module_names}
    if importable or len(parts) > 1:
        return importlib.import_module(".".join(parts))
    name = "_user_" + re.sub(r"\W", "_", parts[0])
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
