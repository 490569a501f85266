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

# torch writes shape expressions with sympy.srepr, older releases with str, and reads them with sympy.sympify, which
# evaluates Python. These are the functions and words that the two write.
_SHAPE_FUNCTIONS = frozenset(
    "Abs Add And BitwiseFn_bitwise_and BitwiseFn_bitwise_or CeilDiv CeilToInt CleanDiv Eq Equality ExprCondPair Float"
    " FloatPow FloatTrueDiv FloorDiv FloorToInt Ge GreaterThan Gt ITE Identity IntTrueDiv Integer"
    " IsNonOverlappingAndDense IsNonOverlappingAndDenseIndicator LShift Le LessThan Lt Max Min Mod ModularIndexing Mul"
    " Ne Not Or Piecewise Pow PowByNatural PythonMod RShift Rational RoundDecimal RoundToInt StrictGreaterThan"
    " StrictLessThan Symbol ToFloat TruncToFloat TruncToInt Tuple Unequality Where Xor ceiling floor log2 sqrt"
    " OpaqueUnaryFn_sqrt OpaqueUnaryFn_log2 OpaqueUnaryFn_exp OpaqueUnaryFn_log".split()
)
_ASSUMPTIONS = frozenset(
    "commutative evaluate even finite infinite integer negative nonnegative nonpositive nonzero odd positive precision"
    " rational real zero".split()
)
_TOKEN = re.compile(
    r"""\s+
    | (?P<number>\d+(\.\d*)?([eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_]\w*)
    | '(?P<text>[^'\\]*)'
    | (?P<sign>\*\*|//|[<>=!]=|[-+*/%,()<>&|~=])""",
    re.ASCII | re.VERBOSE,
)
_WORD = re.compile(r"[a-z]{1,4}\d+|True|False|true|false|(int_)?oo|nan|zoo", re.ASCII)
_NUMBER_IN_TEXT = re.compile(r"[-+]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)

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
    """Whether it is made of numbers, symbols, signs and known functions; nothing else is named or called."""
    place, before, may_open = 0, "", True
    while place < len(expression):
        token = _TOKEN.match(expression, place)
        if token is None:
            return False
        place = token.end()
        if token[0].isspace():
            continue
        name, text = token["name"], token["text"]
        if name is not None and not (name in _SHAPE_FUNCTIONS or name in _ASSUMPTIONS or _WORD.fullmatch(name)):
            return False
        if text is not None and not (_WORD.fullmatch(text) or _NUMBER_IN_TEXT.fullmatch(text)):
            return False
        if (token[0] == "(" and not may_open) or (token[0] == "=" and before not in _ASSUMPTIONS):
            return False
        # A bracket behind a value would call it.
        may_open = name in _SHAPE_FUNCTIONS or token["sign"] not in (None, ")")
        before = token[0]
    return True
