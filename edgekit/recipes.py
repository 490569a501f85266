"""Recipes: everything that decides how a file is quantized, in a TOML file to keep, edit and use again.

    scheme = "int8"
    calibration = "auto"        # method
    io = "float"
    cpu = "x86-vnni"

    [[rules]]                   # in order; the first that matches a layer decides
    match = "head.*"
    scheme = "float32"

Every quantizing conversion writes its own beside the file; ``edgekit convert --recipe FILE`` takes it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.cpu import TARGET_CPUS
from edgekit.errors import UsageError
from edgekit.paths import existing_file
from edgekit.types import Quantization, Rule

IO = ("float", "int8")
_TEXTS = ("scheme", "calibration", "io", "cpu")
_KEYS = {*_TEXTS, "optimize", "rules"}


@dataclass(frozen=True)
class Recipe:
    """A scheme and how to apply it.

    Attributes:
        scheme: Name.
        quantization: The rest that the quantizing steps see.
        optimize: Whether the program is rewritten for 8 bits first.
    """

    scheme: str
    quantization: Quantization = field(default_factory=Quantization)
    optimize: bool = False


def read(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises:
        UsageError: It is missing, no TOML, or says something that edgekit does not know.
    """
    place = existing_file(path)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--recipe {path}: no TOML: {error}.") from error
    unknown = sorted(set(content) - _KEYS)
    if unknown:
        raise UsageError(
            f"--recipe {path}: unknown key {', '.join(unknown)}.", hint=f"There are {', '.join(sorted(_KEYS))}."
        )
    for key in _TEXTS:
        if not isinstance(content.get(key, ""), str):
            raise UsageError(f"--recipe {path}: {key} must be text.", hint=f'{key} = "…"')
    if not isinstance(content.get("optimize", False), bool):
        raise UsageError(f"--recipe {path}: optimize must be true or false.")
    if "scheme" not in content:
        raise UsageError(f"--recipe {path}: the scheme is missing.", hint='scheme = "int8"')
    quantization = Quantization(
        method=content.get("calibration", "auto"),
        cpu=content.get("cpu", "auto"),
        io=content.get("io", "float"),
        rules=tuple(_rule(item, path) for item in _rules(content, path)),
    )
    scheme = content["scheme"]
    check(quantization, scheme, f"--recipe {path}")
    if quantization.rules and registry.schemes()[scheme].weight_bits > 8:
        raise UsageError(f"--recipe {path}: all layers of a {scheme} file are float; there is nothing for rules to do.")
    return Recipe(scheme, quantization, content.get("optimize", False))


def write(path: Path, recipe: Recipe) -> None:
    """Write a recipe file."""
    import tomli_w

    content: dict[str, Any] = {
        "scheme": recipe.scheme,
        "calibration": recipe.quantization.method,
        "io": recipe.quantization.io,
        "cpu": recipe.quantization.cpu,
        "optimize": recipe.optimize,
        "rules": [{"match": rule.match, "scheme": rule.scheme} for rule in recipe.quantization.rules],
    }
    path.write_text(tomli_w.dumps(content), encoding="utf-8")


def check(quantization: Quantization, scheme: str, where: str) -> None:
    """Refuse words that mean nothing.

    Raises:
        UsageError: Names what there is.
    """
    schemes = registry.schemes()
    for name in (scheme, *(rule.scheme for rule in quantization.rules)):
        if name not in schemes:
            raise UsageError(f"{where}: there is no scheme {name!r}.", hint=f"There are {', '.join(schemes)}.")
    for value, known, key in ((quantization.io, IO, "io"), (quantization.cpu, TARGET_CPUS, "cpu")):
        if value not in known:
            raise UsageError(f"{where}: {key} {value!r} is not known.", hint=f"There are {', '.join(known)}.")
    registry.function("converters.calibration.methods:parse")(quantization.method)


def _rules(content: dict[str, Any], path: str | Path) -> list[Any]:
    found = content.get("rules", [])
    if not isinstance(found, list):
        raise UsageError(f"--recipe {path}: rules are a list.", hint='[[rules]] match = "…" scheme = "float32"')
    return found


def _rule(item: Any, path: str | Path) -> Rule:
    texts = isinstance(item, dict) and all(isinstance(value, str) for value in item.values())
    if not texts or not {"match"} <= set(item) <= {"match", "scheme"}:
        raise UsageError(
            f"--recipe {path}: a rule has a match and a scheme, found {item!r}.",
            hint='[[rules]] match = "head.*" scheme = "float32"',
        )
    return Rule(**item)
