"""Options that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekit.data_options import DataOptions
    from edgekit.measuring import Measuring
    from edgekit.options import SourceOptions

_SOURCE = "edgekit.source."
_DATA = "edgekit.data."
_MEASURING = "edgekit.measuring."
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


def fresh_option(command: F) -> F:
    """``--fresh``."""
    return click.option(
        "--fresh", is_flag=True, help="Run a source model again, though its outputs on these samples were kept."
    )(command)


def source_options(command: F) -> F:
    """How to read a source model; :func:`chosen_source` has what was typed."""
    options = (
        _source_option(
            "--model", "model_code", metavar="FILE.py:NAME",
            help="The class or function that builds the network, for files that hold weights alone; also "
            "package.module:NAME. Naming it lets edgekit run that code.",
        ),
        _source_option(
            "--trust", is_flag=True, default=False,
            help="Load files that run code of their own (pickled modules, Lambda layers, remote code).",
        ),
        _source_option(
            "--input", "inputs", multiple=True, metavar="NAME=1,3,224,224[:dtype]",
            help="Shape of an input, where neither the file nor --data says it. Repeatable.",
        ),
        _source_option(
            "--output-name", "outputs", multiple=True, metavar="NAME",
            help="Tensor to return, of a frozen graph that does not say it. Repeatable.",
        ),
        _source_option("--signature", metavar="NAME", help="Which signature of a SavedModel to take."),
        _source_option(
            "--task", metavar="NAME", help="What a Hugging Face model is for, where its config does not say it."
        ),
        _source_option(
            "--layout", "layouts", multiple=True, metavar="[NAME=]nhwc|nchw",
            help="Layout of an input of the result, where it is to differ from the source's. Repeatable.",
        ),
        _source_option(
            "--dynamic", multiple=True, metavar="batch|NAME.AXIS",
            help="Keep the batch, or one axis of one input, open in the result. Repeatable.",
        ),
        _source_option(
            "--timeout", "timeout_s", type=click.FloatRange(min=1), default=1800.0, show_default=True,
            metavar="SECONDS", help="Time limit of each step.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def chosen_source(ctx: click.Context) -> SourceOptions:
    """What the options of :func:`source_options` were given."""
    from edgekit.options import SourceOptions

    return SourceOptions(**{name: ctx.meta[_SOURCE + name] for name in SourceOptions.__dataclass_fields__})


def _kept_option(group: str, *names: str, **settings: Any) -> Callable[[F], F]:
    def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        ctx.meta[f"{group}{option.name}"] = value

    return click.option(*names, expose_value=False, callback=keep, **settings)


def _source_option(*names: str, **settings: Any) -> Callable[[F], F]:
    return _kept_option(_SOURCE, *names, **settings)


def data_option(help_text: str) -> Callable[[F], F]:
    """``--data`` and the options that say how to read it; :func:`chosen_data` has those."""
    options = (
        click.option(
            "--data", metavar="DATA",
            help=help_text + " .npz, .npy, CSV, a folder of pictures or arrays, FILE.py:NAME and more.",
        ),
        _kept_option(
            _DATA, "--preprocess", metavar="WORDS",
            help="What makes a picture of --data an input: unit (0 to 1), signed (-1 to 1), imagenet, raw (0 to 255), "
            "or in full: 'resize=256 crop=224 scale=1/255 mean=… std=…'.",
        ),
        _kept_option(
            _DATA, "--label-column", metavar="NAME|NUMBER",
            help="Column with the classes, where --data is a table; numbers count from 0, -1 is the last.",
        ),
        _kept_option(
            _DATA, "--columns", metavar="A,B,…", help="Columns of a table that are features, in order: names, 3, 1-42."
        ),
    )  # fmt: skip

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def chosen_data(ctx: click.Context) -> DataOptions:
    """What the options beside ``--data`` were given.

    Raises:
        UsageError: There is nothing to read with them.
    """
    from edgekit.data_options import DataOptions
    from edgekit.errors import UsageError

    found = DataOptions(**{name: ctx.meta[_DATA + name] for name in DataOptions.__dataclass_fields__})
    if found.typed() and ctx.params.get("data") in (None, "random"):
        raise UsageError(
            f"{found.typed()[0][0]} says how to read your data, and there is none.", hint="Add --data DATA."
        )
    return found


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers, one or several with commas between them."""

    name = "numbers"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """``"1,2,4"`` as ``(1, 2, 4)``, each once."""
        if not isinstance(value, str):
            return tuple(value)
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() and int(part) >= self.least for part in parts):
            self.fail(f"{value!r} is no list of whole numbers from {self.least} on, such as 1,2,4.", param, ctx)
        return tuple(dict.fromkeys(map(int, parts)))


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time such as ``90s`` or ``10m``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """``"10m"`` as ``600.0``."""
        from edgekit.durations import seconds
        from edgekit.errors import UsageError

        if not isinstance(value, str):
            return float(value)
        try:
            return seconds(value)
        except UsageError as error:
            self.fail(f"{error.message} {error.hint}", param, ctx)


def measuring_options(command: F) -> F:
    """How files are measured; :func:`chosen_measuring` has what was typed."""
    options = (
        _kept_option(
            _MEASURING, "--threads", type=Numbers(1), default="1", show_default=True, metavar="N[,N...]",
            help="Threads of the runtime; each file is measured with each number.",
        ),
        _kept_option(
            _MEASURING, "--budget", "budget_s", type=click.FloatRange(min=0, min_open=True), default=None,
            metavar="SECONDS", help="Time for warm-up and timed runs, per file.  [default: 10]",
        ),
        _kept_option(
            _MEASURING, "--quick", is_flag=True, default=False,
            help="An answer within seconds: half a second of timing per file, and no memory plan or peak of the CPU.",
        ),
        _kept_option(
            _MEASURING, "--affinity", default="", metavar="CPU[,CPU...]|big|little",
            help="CPUs that the files may run on: numbers, or a kind where the processor has several.",
        ),
        _kept_option(
            _MEASURING, "--device", "devices", multiple=True, default=("host",), metavar="NAME|ADDRESS",
            help="Where to measure: host, ssh://[USER@]HOST[:PORT], adb:SERIAL, or a name from edgekit devices. "
            "Repeatable.  [default: host]",
        ),
        _kept_option(
            _MEASURING, "--runner", "runners", multiple=True, metavar="PROGRAM",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="Native program for a device without Python: benchmark_model or executor_runner. Repeatable.",
        ),
        _kept_option(
            _MEASURING, "--sustained", type=Duration(), default=0.0, metavar="DURATION",
            help="Run each file so long without pause, such as 10m: the last half minute against the first.",
        ),
        _kept_option(
            _MEASURING, "--cooldown", default="", metavar="DURATION|TEMPERATURE",
            help="Wait before timing: so long (60s), or until the device is no hotter than that (55C).",
        ),
        _kept_option(
            _MEASURING, "--ops", "operators", is_flag=True, default=False,
            help="Time, share and delegate of every operator, from profiled runs of their own.",
        ),
        _kept_option(
            _MEASURING, "--require-delegated", type=click.FloatRange(0, 1), default=None, metavar="SHARE",
            help="Fail when less of a file's multiply-accumulates is in a delegate, such as 0.95.",
        ),
        _kept_option(
            _MEASURING, "--cold", is_flag=True, default=False,
            help="Time fresh processes too: import, load, first run, steady runs, a run after a pause.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def chosen_measuring(ctx: click.Context) -> Measuring:
    """What the options of :func:`measuring_options` were given.

    Raises:
        UsageError: They contradict one another.
    """
    from edgekit.errors import UsageError
    from edgekit.measuring import BUDGET_S, COLD_PROCESSES, QUICK_BUDGET_S, Measuring

    found = {name.removeprefix(_MEASURING): value for name, value in ctx.meta.items() if name.startswith(_MEASURING)}
    if found.pop("quick"):
        if found["budget_s"] is not None:
            raise UsageError("--quick is a budget of its own.", hint="Leave --budget or --quick out.")
        found.update(budget_s=QUICK_BUDGET_S, thorough=False)
    if found["budget_s"] is None:
        found["budget_s"] = BUDGET_S
    found["cold"] = COLD_PROCESSES if found["cold"] else 0
    found["sustained_s"] = found.pop("sustained")
    if found["cooldown"]:
        from edgekit.cooldown import parse

        parse(found["cooldown"])  # now, and not when files are loaded
    found["devices"] = tuple(dict.fromkeys(found["devices"]))
    found["operators"] |= found["require_delegated"] is not None
    return Measuring(**found, timeout_s=chosen_source(ctx).timeout_s)
