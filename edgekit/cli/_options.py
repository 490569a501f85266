"""Options that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _remember(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def callback(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        setattr(ctx.find_root().obj, name, value)
        return value

    return callback


def output_options(command: F) -> F:
    """``--json`` and ``--quiet``."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_remember("json"),
        help="Print the result as JSON on stdout.",
    )  # fmt: skip
    quiet = click.option(
        "-q", "--quiet", is_flag=True, is_eager=True, callback=_remember("quiet"), help="No progress display."
    )
    return quiet(as_json(command))


def source_options(command: F) -> F:
    """How to read a source model: ``--model``, ``--trust``, ``--input``, ``--timeout``."""
    options = (
        click.option(
            "--model", "model_code", metavar="FILE.py:NAME",
            help="The class or function that builds the network, for files that hold weights alone; also "
            "package.module:NAME. Naming it lets edgekit run that code.",
        ),
        click.option("--trust", is_flag=True, help="Load files that run code of their own (pickled modules)."),
        click.option(
            "--input", "inputs", multiple=True, metavar="NAME=1,3,224,224[:dtype]",
            help="Shape of an input, where neither the file nor --data says it. Repeatable.",
        ),
        click.option(
            "--timeout", "timeout_s", type=click.FloatRange(min=1), default=1800.0, show_default=True,
            metavar="SECONDS", help="Time limit of each step.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def data_option(help_text: str) -> Callable[[F], F]:
    """``--data``."""
    return click.option("--data", metavar="FILE", help=help_text + " .npz, .npy, .pt, .safetensors or a folder.")
