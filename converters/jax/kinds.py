"""What a file of JAX is, by content, with the standard library alone."""

from __future__ import annotations

import ast
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

ARTIFACT = "JAX program (jax.export)"
PYTHON = "Python file with JAX code"
OTHER_PYTHON = "Python file"

_JAX = frozenset({"jax", "jaxlib", "flax", "equinox", "haiku", "optax", "penzai", "diffrax"})
_OTHERS = {"torch": "PyTorch", "keras": "Keras", "tensorflow": "TensorFlow"}
_LARGEST_CODE = 4 << 20

# Places of fields in the table that jax.export writes, which carries no identifier of its own.
_FIELDS = 18
_VERSION, _FUNCTION_NAME, _IN_TREE, _PLATFORMS, _MODULE = 0, 1, 2, 9, 13
_BYTECODE = b"ML\xefR"
_NEWEST_VERSION = 1000  # a version is a small number, if it is one


@dataclass(frozen=True)
class Artifact:
    """The start of a ``jax.export`` file.

    Attributes:
        version: Of its format.
        module_bytes: Length of the MLIR module inside.
        whole: Whether all its parts lie within the file.
    """

    version: int
    module_bytes: int
    whole: bool


@dataclass(frozen=True)
class Code:
    """A Python file, parsed and not run.

    Attributes:
        functions: Public functions, classes and assigned names of its top level, in order.
        imports: Top-level packages that it imports anywhere.
    """

    functions: tuple[str, ...]
    imports: frozenset[str]

    @property
    def is_jax(self) -> bool:
        """Whether it imports JAX or a library on top of it."""
        return bool(self.imports & _JAX)

    @property
    def other_framework(self) -> str:
        """The framework it is for, where that is another one; empty when it is not known."""
        found = [title for package, title in _OTHERS.items() if package in self.imports]
        return found[0] if found and not self.is_jax else ""


def identify(path: Path) -> str | None:
    """The kind of file in words, ``None`` when JAX has no part in it."""
    if artifact(path) is not None:
        return ARTIFACT
    found = code(path)
    if found is None:
        return None
    return PYTHON if found.is_jax else OTHER_PYTHON


def artifact(path: Path) -> Artifact | None:
    """What the head of a ``jax.export`` file says; ``None`` when it is no such file.

    A flatbuffer without identifier: what tells is a table of that size whose fourteenth field is MLIR bytecode.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        try:
            return _artifact(head, size)
        except (struct.error, IndexError):
            return None


def _artifact(head: bytes, size: int) -> Artifact | None:
    (root,) = struct.unpack_from("<I", head)
    (back,) = struct.unpack_from("<i", head, root)
    table = root - back
    if not 4 <= table < len(head):
        return None
    (table_bytes,) = struct.unpack_from("<H", head, table)
    if table_bytes < 4 + 2 * (_MODULE + 1):
        return None
    count = min((table_bytes - 4) // 2, _FIELDS)
    fields = struct.unpack_from(f"<{count}H", head, table + 4)
    if not all(fields[place] for place in (_VERSION, _FUNCTION_NAME, _IN_TREE, _PLATFORMS, _MODULE)):
        return None
    (version,) = struct.unpack_from("<H", head, root + fields[_VERSION])
    places = {}
    for place in (_FUNCTION_NAME, _IN_TREE, _PLATFORMS, _MODULE):
        at = root + fields[place]
        places[place] = at + struct.unpack_from("<I", head, at)[0]
    (module_bytes,) = struct.unpack_from("<I", head, places[_MODULE])
    start = places[_MODULE] + 4
    if not 1 <= version < _NEWEST_VERSION or head[start : start + 4] != _BYTECODE:
        return None
    # Strings are written first and stand last.
    ends = [start + module_bytes, *(place + 4 for place in places.values())]
    return Artifact(version, module_bytes, all(end <= size for end in ends))


def code(path: Path) -> Code | None:
    """A Python file that defines something, by its text; ``None`` for any other file."""
    with path.open("rb") as file:
        if b"\0" in file.read(4096) or path.stat().st_size > _LARGEST_CODE:
            return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the user's strings
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions, imports = _defined(tree), _imported(tree)
    defines = any(isinstance(item, (ast.FunctionDef, ast.ClassDef)) for item in tree.body)
    if not functions or not (defines or imports & _JAX):
        return None
    return Code(tuple(functions), frozenset(imports))


def _defined(tree: ast.Module) -> list[str]:
    names: dict[str, None] = {}
    for item in tree.body:
        if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
            names[item.name] = None
        elif isinstance(item, ast.Assign) and isinstance(item.value, (ast.Call, ast.Lambda)):
            names |= {target.id: None for target in item.targets if isinstance(target, ast.Name)}
    return [name for name in names if not name.startswith("_") and not name.isupper()]  # W = np.load(…) is none


def _imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module and not item.level:
            found.add(item.module.partition(".")[0])
    return found
