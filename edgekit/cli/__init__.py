"""The command line: one file per command, found by listing this folder.

A command is options, one library call, and printing. Results go to stdout, everything else to stderr. Nothing
imported here or at the top of a command file may be heavier than Click: ``edgekit --help`` has a budget.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edgekit.errors import EdgekitError, InterruptedByUserError, UsageError
from edgekit.harmless import harmless

if TYPE_CHECKING:
    from edgekit.check_types import CheckReport
    from edgekit.types import Failure, Report


@dataclass
class State:
    """What the group's options and a command's ``--json`` leave for the error handler."""

    debug: bool = False
    json: bool = False
    quiet: bool = False


class _Commands(click.Group):
    """Commands are the public modules of this package, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise click.UsageError(f"No such command {args[0]!r}. Commands: {', '.join(self.list_commands(ctx))}.", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExample:\n  edgekit convert model.pt --to tflite --int8 --data calibration.npz\n  edgekit demo",
)
@click.version_option(package_name="edgekit")
@click.option("--debug", is_flag=True, help="Show Python tracebacks of errors.")
@click.pass_obj
def cli(state: State, debug: bool) -> None:
    """Convert trained models to TFLite, ONNX and ExecuTorch, prove each file, measure it."""
    state.debug = debug


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code (see :mod:`edgekit.errors`)."""
    signal.signal(signal.SIGTERM, _stop)
    # Known before the options are parsed, so that a wrong one among them is told as JSON, too.
    state = State(json="--json" in (sys.argv[1:] if arguments is None else arguments))
    try:
        code = cli.main(arguments, standalone_mode=False, obj=state)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if state.json:
            _print_error(UsageError(error.format_message()))
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _show(InterruptedByUserError("Interrupted; nothing half-written was left."), state)
        sys.exit(InterruptedByUserError.exit_code)
    except EdgekitError as error:
        if state.debug:
            raise
        _show(error, state)
        sys.exit(error.exit_code)
    except Exception as error:
        if state.debug:
            raise
        hint = "This is a fault of edgekit. Please report what the same command says with: edgekit --debug …"
        _show(EdgekitError(f"Unexpected {type(error).__name__}: {error}", hint=hint), state)
        sys.exit(EdgekitError.exit_code)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(error: EdgekitError, state: State) -> None:
    if state.json:
        _print_error(error)
    _say(error)


def _say(error: EdgekitError | Failure) -> None:
    click.secho("error: ", fg="red", nl=False, err=True)
    click.echo(harmless(error.message), err=True)
    for title, text in (("  next: ", error.hint), ("  log:  ", error.log)):
        if text:
            click.echo(title + harmless(text).replace("\n", "\n        "), err=True)


def print_failures(report: Report | CheckReport) -> None:
    """What could not be made or measured, to stderr."""
    for failure in report.failures:
        _say(failure)


def _print_error(error: EdgekitError) -> None:
    from edgekit.types import SCHEMA_VERSION

    print_json({"schema_version": SCHEMA_VERSION, "failures": [error.to_json()]})


def print_json(value: Any) -> None:
    """The result of a command, for ``--json``."""
    click.echo(json.dumps(value, indent=2))
