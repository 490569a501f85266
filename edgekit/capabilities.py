"""What this installation can read, write and quantize, as the plugins themselves say it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from edgekit import registry
from edgekit.plugins import Node
from edgekit.types import SCHEMA_VERSION, Scheme


@dataclass(frozen=True)
class Format:
    """A source or a target.

    Attributes:
        name, title: As in its plugin.
        form: The node of the conversion graph that its files are, or become.
        suffixes: Usual ones.
        extra: The extra of edgekit that installs what it needs.
        missing: Packages of it that are not installed.
    """

    name: str
    title: str
    form: str
    suffixes: tuple[str, ...]
    extra: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """Whether a form of source reaches a target in a scheme.

    Attributes:
        form: Of the source.
        scheme, target: Names.
        steps: Names of the conversion steps in order, ``None`` when there is no way.
        extras: That the steps need.
        missing: Packages of them that are not installed.
        refused: Why there is no way, where the target says it.
    """

    form: str
    scheme: str
    target: str
    steps: tuple[str, ...] | None
    extras: tuple[str, ...]
    missing: tuple[str, ...]
    refused: str = ""


@dataclass(frozen=True)
class Capabilities:
    """All of it; also the ``--json`` output of ``edgekit list``."""

    sources: tuple[Format, ...]
    targets: tuple[Format, ...]
    schemes: tuple[Scheme, ...]
    ways: tuple[Way, ...]
    schema_version: int = SCHEMA_VERSION


def capabilities() -> Capabilities:
    """Ask the plugins. Imports no framework."""
    sources = tuple(
        Format(item.name, item.title, item.form, item.suffixes, item.extra, _missing(item.packages))
        for item in registry.sources().values()
    )
    targets = tuple(
        Format(item.name, item.title, item.form, (item.suffix,), item.extra, _missing(item.packages))
        for item in registry.targets().values()
    )
    forms = dict.fromkeys(item.form for item in sources)
    schemes = tuple(registry.schemes().values())
    ways = (_way(form, scheme.name, target) for form in forms for scheme in schemes for target in targets)
    return Capabilities(sources, targets, schemes, tuple(ways))


def _way(form: str, scheme: str, target: Format) -> Way:
    plan = registry.function("converters.graph:plan")
    edges = plan(Node(form), Node(target.form, scheme), registry.steps())
    if edges is None:
        return Way(form, scheme, target.name, None, (), (), registry.targets()[target.name].refused.get(scheme, ""))
    steps = [edge.step for edge in edges]
    return Way(
        form,
        scheme,
        target.name,
        tuple(step.name for step in steps),
        tuple(dict.fromkeys(step.extra for step in steps)),
        _missing(package for step in steps for package in step.packages),
    )


def _missing(packages: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(packages) if importlib.util.find_spec(name) is None)
