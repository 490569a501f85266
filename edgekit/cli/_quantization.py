"""The options that say how to quantize: schemes as flags or by name, calibration, CPU, borders, exceptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from edgekit import registry

if TYPE_CHECKING:
    from edgekit.types import Quantization

F = TypeVar("F", bound=Callable[..., Any])

_CHOSEN = "edgekit.schemes"
_TYPED = "edgekit.typed"
_FIELDS = {"method": "calibration_method", "cpu": "cpu", "io": "io"}
"""Of the settings, and the options that give them."""
_CPUS = ("auto", "x86-vnni", "x86", "arm")


@dataclass(frozen=True)
class QuantizationOptions:
    """What was typed.

    Attributes:
        quant: Names of schemes, in order.
        recipe: ``--recipe``.
        quantization: The settings.
        explicit: Fields of the settings that were typed, be it with their default.
        optimize: ``--optimize``.
        calibration_samples: ``--calibration-samples``.
    """

    quant: tuple[str, ...]
    recipe: Path | None
    quantization: Quantization
    explicit: frozenset[str]
    optimize: bool
    calibration_samples: int


def quantization_options(command: F) -> F:
    """``--quant`` and its flags, ``--recipe``, ``--exclude``, ``--calibration-…``, ``--cpu``, ``--io``, ``--optimize``.

    The command gets one argument for all of them, by :func:`collected`.
    """
    options = (
        *_scheme_options(),
        _option(
            "--recipe", type=click.Path(path_type=Path), metavar="FILE",
            help="A recipe that an earlier conversion wrote, perhaps edited: scheme, rules and the rest.",
        ),
        _option(
            "--exclude", multiple=True, metavar="PATTERN",
            help="Layers that stay float: a module path or operator type, with * and ?, or a preset (@first, @last, "
            "@last-activation, @detection-head). Repeatable; `edgekit inspect` lists the layers.",
        ),
        _option(
            "--calibration-samples", type=click.IntRange(min=1), default=512, show_default=True, metavar="N",
            help="How many samples of --data to calibrate on, drawn with a fixed seed; others check the result.",
        ),
        _option(
            "--calibration-method", default="auto", show_default=True, metavar="NAME",
            help="How ranges are chosen: auto, minmax, percentile[:99.9], mse or entropy.",
        ),
        _option(
            "--cpu", type=click.Choice(_CPUS), default="auto", show_default=True,
            help="The CPU that 8-bit ONNX files are for.",
        ),
        _option(
            "--io", type=click.Choice(["float", "int8"]), default="float", show_default=True,
            help="What inputs and outputs of static 8-bit files are.",
        ),
        _option(
            "--optimize", is_flag=True,
            help="Equalize ranges and correct biases before quantizing, where --data shows that it helps.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def collected(ctx: click.Context) -> QuantizationOptions:
    """What the options of :func:`quantization_options` were given."""
    from edgekit.types import Quantization, Rule

    given = ctx.meta
    settings = Quantization(
        method=given["calibration_method"],
        cpu=given["cpu"],
        io=given["io"],
        rules=tuple(Rule(pattern) for pattern in given["exclude"]),
    )
    quant = tuple(dict.fromkeys(given.get(_CHOSEN, ())))
    explicit = frozenset(field for field, option in _FIELDS.items() if option in given[_TYPED])
    return QuantizationOptions(
        quant, given["recipe"], settings, explicit, given["optimize"], given["calibration_samples"]
    )


def _option(name: str, **settings: Any) -> Callable[[F], F]:
    def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        ctx.meta[str(option.name)] = value
        typed = ctx.meta.setdefault(_TYPED, set())
        if ctx.get_parameter_source(str(option.name)) is not ParameterSource.DEFAULT:
            typed.add(option.name)

    return click.option(name, expose_value=False, callback=keep, **settings)


def _remember(ctx: click.Context, option: click.Parameter, given: bool | tuple[str, ...]) -> None:
    """Keep schemes in the order they were typed, whether as flags or by name."""
    flags = {scheme.flag: scheme.name for scheme in registry.schemes().values()}
    names = given if isinstance(given, tuple) else [flags[option.opts[0]]] * given
    ctx.meta.setdefault(_CHOSEN, []).extend(names)


def _scheme_options() -> tuple[Callable[[F], F], ...]:
    """``--quant NAME`` and a flag per scheme."""
    schemes = registry.schemes().values()
    flags = [
        click.option(
            scheme.flag, is_flag=True, expose_value=False, callback=_remember,
            help=scheme.summary[0].upper() + scheme.summary[1:] + ".",
        )
        for scheme in schemes
        if scheme.flag
    ]  # fmt: skip
    by_name = click.option(
        "--quant", multiple=True, metavar="NAME", expose_value=False, callback=_remember,
        help=f"A scheme by name: {', '.join(scheme.name for scheme in schemes)}. Repeatable.",
    )  # fmt: skip
    return (by_name, *flags)
