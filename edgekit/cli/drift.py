"""``edgekit drift``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import print_failures, print_json
from edgekit.cli._options import chosen_data, chosen_source, data_option, fresh_option, output_options, source_options
from edgekit.cli._progress import progress_display
from edgekit.errors import DriftError

if TYPE_CHECKING:
    from edgekit.types import Report

_EPILOG = """\b
Examples:
  edgekit drift model.int8.tflite --reference model.keras --data test.npz
  edgekit drift model.float32.onnx model.int8.onnx --reference model.pt2 --data images/ --preprocess imagenet
  edgekit drift model.int8.tflite --reference model.keras --data test.npz --layers

Labels come from --data or --labels. With a float file of the same format among the files, the errors of conversion and
of quantization are told apart. Exit code 7 says that a file is broken; with --strict, or only degraded.
"""


@click.command("drift", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--reference", required=True, metavar="MODEL|FILE", type=click.Path(path_type=Path),
    help="The source model, or a converted file, whose outputs are taken as right.",
)  # fmt: skip
@data_option("Samples to compare on, with labels or without. A few random ones without, and no verdict.")
@click.option(
    "--labels", metavar="LABELS",
    help="Labels that are not in the data: .npy, .npz, .csv, .txt, COCO .json, or `input` for models that reproduce "
    "their input.",
)  # fmt: skip
@click.option("--judge-as", metavar="TASK", help="What the model is for, where labels and outputs do not show it.")
@click.option(
    "--decode", multiple=True, metavar="KEY=VALUE", help="How outputs are read, such as scores=logits. Repeatable."
)
@click.option("--metric", default="", metavar="FILE.py:NAME", help="A function of yours: of outputs and labels.")
@click.option("--layers", is_flag=True, help="Look inside: the first layer where the signal is lost, and the worst.")
@click.option(
    "--plot", metavar="FILE.svg", type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the SQNR of layers along depth; asks for --layers.",
)  # fmt: skip
@click.option(
    "--bands", metavar="FILE.toml", type=click.Path(path_type=Path, dir_okay=False),
    help="Other limits between equal, acceptable, degraded and broken.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 7 for a degraded file, too.")
@fresh_option
@source_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    reference: Path,
    data: str | None,
    labels: str | None,
    judge_as: str | None,
    decode: tuple[str, ...],
    metric: str,
    layers: bool,
    plot: Path | None,
    bands: Path | None,
    strict: bool,
    fresh: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say how far .tflite, .onnx and .pte files are from a reference, whether it matters, and where it begins.

    Each file gets a verdict: equal, acceptable for its scheme, degraded or broken; with labels, what it loses at its
    task, with the uncertainty of that.
    """
    from edgekit.drift import Looking, drift

    if plot is not None:
        _check_folder(plot)
    looking = Looking(labels, judge_as, decode, metric, layers or plot is not None, bands, fresh)
    with progress_display(quiet) as progress:
        report = drift(
            files,
            reference=reference,
            options=chosen_source(ctx),
            data=None if data == "random" else data,
            data_options=chosen_data(ctx),
            looking=looking,
            progress=progress,
        )
    if plot is not None:
        _draw(report, plot)
    return _print(report, as_json=as_json, strict=strict)


def _check_folder(plot: Path) -> None:
    from edgekit import registry
    from edgekit.errors import UsageError

    if not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no such folder.", hint="Make the folder first.")
    registry.require(("matplotlib",), "metrics", "--plot")


def _draw(report: Report, plot: Path) -> None:
    from edgekit.report import layers_plot

    for place in layers_plot.draw_all(report, plot):
        click.echo(f"plot: {place}", err=True)


def _print(report: Report, *, as_json: bool, strict: bool) -> int:
    """Figures to stdout, failures to stderr.

    Returns:
        The exit code: that of the first failure, else 7 for a broken file.
    """
    from edgekit.types import to_json

    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report import drift_table
        from edgekit.report.console import stdout_console

        drift_table.show(report, stdout_console())
    print_failures(report)
    found = {status: [item.path for item in report.drifts if item.verdict.status == status] for status in _LOUD}
    for status, color in _LOUD.items():
        if found[status]:
            click.secho(f"{status}: {', '.join(found[status])}", fg=color, err=True)
    if report.failures:
        return report.failures[0].exit_code
    return DriftError.exit_code if found["broken"] or (strict and found["degraded"]) else 0


_LOUD = {"broken": "red", "degraded": "yellow"}
"""Verdicts that are said on stderr, too, for whoever sends the figures to a file."""
