"""What a conversion will make: schemes, a way for each file, and what cannot be had, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit import data as data_files
from edgekit import registry
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.plugins import Edge, Node, Source, Target
from edgekit.progress import Progress
from edgekit.publish import Destination
from edgekit.recipes import Recipe
from edgekit.types import Failure, Scheme

OPTIMIZED_FORM = "torch.export"
"""The form that ``--optimize`` rewrites, and on which causes of a loss are looked for."""
FLOAT_BITS = 16
"""Weights of so many bits, or more, are float."""


@dataclass
class Wanted:
    """One artifact on its way.

    Attributes:
        target, recipe: What it will be.
        scheme: The recipe's.
        edges: The way from the source's form, in order.
        destination: Its final place, once that is known.
    """

    target: Target
    recipe: Recipe
    scheme: Scheme
    edges: list[Edge]
    destination: Destination | None = None

    @property
    def last(self) -> Node:
        """The node that is the artifact."""
        return self.edges[-1].target

    @property
    def calibrated(self) -> bool:
        """Whether one of its steps needs the ranges of activations."""
        known = registry.schemes()
        return any(
            known[edge.target.scheme].needs_calibration and not known[edge.source.scheme].needs_calibration
            for edge in self.edges
        )

    @property
    def quantized(self) -> bool:
        """Whether its weights or activations have 8 bits or fewer."""
        return self.scheme.weight_bits < FLOAT_BITS


def without_data(
    recipes: Sequence[Recipe], data: str | None, progress: Progress, arrived: str = "float32"
) -> list[Recipe]:
    """The recipes that can be followed with this data: int8 without any becomes int8-dynamic, and that is said.

    A scheme that the model has arrived in needs no data.

    Raises:
        UsageError: Another scheme needs calibration data, and there is none.
    """
    known = registry.schemes()
    chosen: list[Recipe] = []
    for recipe in recipes:
        scheme, kept = known[recipe.scheme], recipe
        if scheme.needs_calibration and data is None and recipe.scheme != arrived:
            if recipe.scheme != "int8":
                raise UsageError(
                    f"--{recipe.scheme} takes its ranges from data, and there is none.",
                    hint="--data FILE with 100 or more real, preprocessed samples",
                )
            progress.say(
                f"--{recipe.scheme} without --data makes int8-dynamic: 8-bit weights, activations quantized at run "
                "time. For static int8 add --data FILE with 100 or more real, preprocessed samples."
            )
            kept = Recipe("int8-dynamic", recipe.quantization, recipe.optimize)
        if kept not in chosen:
            chosen.append(kept)
    if data == data_files.RANDOM and any(known[recipe.scheme].needs_calibration for recipe in chosen):
        progress.say(
            "WARNING: --data random. The int8 ranges will come from random numbers, not from your data. "
            "Such a file is for size and speed alone; its accuracy means nothing."
        )
    return chosen


def plan(
    source: Source, to: Sequence[str], recipes: Sequence[Recipe], progress: Progress, arrived: str = "float32"
) -> tuple[list[Wanted], list[Failure]]:
    """A way for each artifact; what has none, or lacks a package, is a failure.

    Args:
        source: What the model is.
        to: Names of targets.
        recipes: One per scheme.
        progress: Told what is left out because the model is that already.
        arrived: The scheme that the model is in already.

    Raises:
        EdgekitError: The first failure, when nothing is left to do.
    """
    wanted: list[Wanted] = []
    failures: list[Failure] = []
    first: EdgekitError | None = None
    there: list[str] = []
    for name in dict.fromkeys(to):
        target = registry.targets()[name]
        for recipe in recipes:
            try:
                wanted.append(_way(Node(source.form, arrived), source, target, recipe))
            except _AlreadyThereError as error:
                first = first or error
                there.append(error.message)
            except EdgekitError as error:
                first = first or error
                failures.append(failure(f"{name} {recipe.scheme}", error))
    if not wanted and first is not None:
        raise first
    for message in there:  # one of several files: no reason to fail
        progress.say(message)
    return wanted, failures


class _AlreadyThereError(UnsupportedError):
    """Nothing is to be converted."""


def failure(what: str, error: EdgekitError) -> Failure:
    """An error as part of a report."""
    return Failure(what, type(error).__name__, error.exit_code, error.message, error.hint, error.log)


def _way(start: Node, source: Source, target: Target, recipe: Recipe) -> Wanted:
    find = registry.function("converters.graph:plan")
    scheme = registry.schemes()[recipe.scheme]
    if recipe.optimize and scheme.weight_bits < FLOAT_BITS and start.scheme != scheme.name:
        start = _optimized_start(start, source)
    edges: list[Edge] | None = find(start, Node(target.form, scheme.name), registry.steps())
    if edges is None:
        raise _impossible(start, source, target, scheme)
    if not edges:
        raise _AlreadyThereError(
            f"The model is {target.title} in {scheme.name} already: nothing is to be converted.",
            hint="Ask for another scheme or target (edgekit list), or measure it as it is: edgekit profile FILE",
        )
    for edge in edges:
        registry.require(edge.step.packages, edge.step.extra, f"Converting to {target.title}")
    runtime = registry.runtimes()[target.runtime]
    registry.require(runtime.PACKAGES, runtime.EXTRA, f"Checking {target.title} files")
    wanted = Wanted(target, recipe, scheme, edges)
    if wanted.quantized:
        _check_settings(wanted, start)
    return wanted


def _optimized_start(start: Node, source: Source) -> Node:
    """Where conversions of an optimized model start: at the form that is rewritten.

    Raises:
        UnsupportedError: There is no way to it.
    """
    node = Node(OPTIMIZED_FORM)
    if registry.function("converters.graph:plan")(start, node, registry.steps()) is None:
        raise UnsupportedError(
            f"--optimize rewrites {OPTIMIZED_FORM} programs, and there is no way from {source.title} to one.",
            hint="Leave it out; --exclude PATTERN keeps single layers float on every source.",
        )
    return node


def _check_settings(wanted: Wanted, start: Node) -> None:
    """Refuse rules and borders that the quantizing step cannot do, or that no step would heed.

    Raises:
        UnsupportedError: Names what it can.
    """
    target, scheme, settings = wanted.target, wanted.scheme, wanted.recipe.quantization
    if start.scheme == scheme.name and (settings.rules or settings.io != "float" or wanted.recipe.optimize):
        raise UnsupportedError(
            f"The model has arrived in {scheme.name}, which is kept as it is; --exclude, --io, --optimize and recipes "
            "are about quantizing.",
            hint="Leave them out, or convert the float model that it was made from.",
        )
    mixes = next((edge.step.mixes for edge in wanted.edges if scheme.name in edge.step.mixes), {})
    possible = mixes.get(scheme.name, ())
    for rule in settings.rules:
        if rule.scheme not in possible and rule.scheme != scheme.name:
            raise UnsupportedError(
                f"In {scheme.name} files of {target.title} a layer cannot be {rule.scheme} ({rule.match!r}).",
                hint=f"Possible for single layers: {', '.join(possible)}."
                if possible
                else f"Its {scheme.name} takes no exceptions; try --int8.",
            )
    if settings.io != "float" and scheme.activations != "static":
        raise UnsupportedError(
            f"--io {settings.io}: {scheme.name} computes between float inputs and outputs.",
            hint=f"--int8 --data FILE --io {settings.io}",
        )


def _impossible(start: Node, source: Source, target: Target, scheme: Scheme) -> UnsupportedError:
    """Names the nearest schemes that this target can do."""
    nearest = sorted(
        _possible(start, target),
        key=lambda other: (
            abs(other.weight_bits - scheme.weight_bits),
            abs(other.activation_bits - scheme.activation_bits),
            other.needs_calibration != scheme.needs_calibration,
        ),
    )
    names = ", ".join(other.name for other in nearest)
    if not nearest and not _possible(Node(start.form), target):
        titles = [other.title for other in registry.targets().values() if _possible(start, other)]
        return UnsupportedError(
            f"There is no way from {source.title} to {target.title}.",
            hint=(f"From this file edgekit makes {' and '.join(titles)} files. Or convert" if titles else "Convert")
            + " the model that it was made from.",
        )
    if start.scheme != "float32":
        return UnsupportedError(
            f"The model has arrived in {start.scheme}; {target.title} files in {scheme.name} come from float models.",
            hint=(f"From this one: --quant {names}. Or convert" if names else "Convert")
            + " the float model that it was made from.",
        )
    reason = target.refused.get(scheme.name, "")
    return UnsupportedError(
        f"{scheme.name} is not possible on {target.title}" + (f": {reason}" if reason else "."),
        hint=f"Nearest first: --quant {names}   (edgekit list)",
    )


def _possible(start: Node, target: Target) -> list[Scheme]:
    """The schemes in which a target can be had from a form."""
    find = registry.function("converters.graph:plan")
    return [one for one in registry.schemes().values() if find(start, Node(target.form, one.name), registry.steps())]
