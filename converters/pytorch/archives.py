"""Looks through PyTorch's zip archives before torch loads them, for what would run code or write files.

``torch.load(weights_only=True)`` is safe by itself; ``torch.export.load`` and ``torch.jit.load`` are not: they
unpickle, evaluate expressions, open shared libraries and call operators that write files, all as the archive says.
Standard library only. torch reads archives with a library of its own, so whatever two readers could see in different
ways is refused as well.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import ConversionError, UntrustedError

_MAX_EXPANSION = 200
_HINT = "Add --trust if you made this file yourself, or know who did."

# What torch prints shape expressions with; it reads them with sympy.sympify, which evaluates Python.
_SHAPE_FUNCTIONS = frozenset(
    "Abs And CeilDiv CeilToInt CleanDiv Eq FloorDiv FloorToInt Ge Gt Identity Integer IntTrueDiv"
    " IsNonOverlappingAndDense Le LShift Lt Max Min Mod ModularIndexing Ne Not Or Piecewise PowByNatural PythonMod"
    " RShift Rational RoundToInt ToFloat TruncToInt Where ceiling floor log2 sqrt".split()
)
_TOKEN = re.compile(
    r"""\s+
    | (?P<number>\d+(\.\d*)?([eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>\*\*|//|[<>=!]=|[-+*/%,()<>&|~])""",
    re.ASCII | re.VERBOSE,
)
_SYMBOL = re.compile(r"[a-z]{1,4}\d+|True|False|(int_)?oo|nan|zoo", re.ASCII)

# Operators that read or write files under a name that stands in the program.
_FILE_OPERATORS = re.compile(r"\b(from_file|save|load_tensor)\b")
_FILE_CALLS = re.compile(rb"\b(from_file|save|load_tensor)\s*\(")


def check(path: Path) -> None:
    """Refuse archives that could do harm when they are unpacked, or are not one thing to all readers.

    Raises:
        ConversionError: It is damaged.
        UntrustedError: A member leaves its folder, expands beyond reason or hides another.
    """
    with zipfile.ZipFile(path) as archive:
        seen: set[str] = set()
        for info in archive.infolist():
            member = PurePosixPath(info.filename)
            if member.is_absolute() or ".." in member.parts:
                raise UntrustedError(f"{path}: archive member {info.filename!r} points outside the archive.")
            if info.file_size > _MAX_EXPANSION * max(info.compress_size, 1 << 16):
                raise UntrustedError(f"{path}: archive member {info.filename!r} expands to {info.file_size} bytes.")
            if info.filename.casefold() in seen:
                raise UntrustedError(f"{path}: two archive members are called {info.filename!r}.")
            seen.add(info.filename.casefold())
        if archive.comment:
            raise UntrustedError(f"{path}: the archive has a comment, which could hide another archive.")


def check_program(path: Path) -> None:
    """Refuse a ``.pt2`` that would run more than a program of operators.

    Pickles in it are not looked at: the reader has torch refuse them.

    Raises:
        ConversionError: It is damaged.
        UntrustedError: It holds a shared library, objects, operators on files, or expressions that are more than
            arithmetic.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            folders = [part.casefold() for part in PurePosixPath(name).parts[:-1]]
            if folders[1:2] == ["extra"]:  # texts that the file's maker put beside the program; nobody reads them
                continue
            if "aotinductor" in folders:
                raise UntrustedError(f"{path}: it holds compiled code ({name}), which loading would run.", hint=_HINT)
            # torch takes any file in models/ for a program, whatever its suffix.
            if "models" in folders or name.casefold().endswith(".json"):
                for key, text in _texts(_parsed(archive.read(name), f"{path}: {name}")):
                    _check_text(key, text, f"{path}: {name}")


def check_script(path: Path) -> None:
    """Refuse TorchScript that calls operators on files.

    Raises:
        UntrustedError: It does.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                found = _FILE_CALLS.search(archive.read(name))
                if found:
                    raise UntrustedError(
                        f"{path}: its code calls {found[1].decode()}(), which reads or writes files ({name}).",
                        hint=_HINT,
                    )


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{where} is damaged: {error}.", hint="Export or copy the file again.") from error


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """All texts in nested JSON under a key."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield from ((key, text) for key, text in item.items() if isinstance(text, str))
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def _check_text(key: str, text: str, where: str) -> None:
    if key == "expr_str" and not _is_arithmetic(text):
        raise UntrustedError(
            f"{where}: the shape expression {text[:80]!r} is more than arithmetic; loading it would run code.",
            hint=_HINT,
        )
    if key == "target" and _FILE_OPERATORS.search(text):
        raise UntrustedError(f"{where}: the operator {text} reads or writes files.", hint=_HINT)
    if key == "path_name" and not text.startswith(("tensor_", "weight_")):
        raise UntrustedError(f"{where}: the constant {text!r} is an object; loading it could run code.", hint=_HINT)


def _is_arithmetic(expression: str) -> bool:
    """Whether it is made of numbers, symbols, signs and known functions; nothing else is called."""
    place, before, callable_before = 0, "", False
    while place < len(expression):
        token = _TOKEN.match(expression, place)
        if token is None:
            return False
        place = token.end()
        text = token[0]
        if text.isspace():
            continue
        name = token["name"]
        if name and name not in _SHAPE_FUNCTIONS and not _SYMBOL.fullmatch(name):
            return False
        # A bracket behind a value would call it.
        if text == "(" and not callable_before and (before == ")" or before[-1:].isalnum()):
            return False
        before, callable_before = text, name in _SHAPE_FUNCTIONS
    return True
