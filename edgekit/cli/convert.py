"""``edgekit convert``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit import registry
from edgekit.cli import print_json
from edgekit.cli._options import chosen_data, chosen_source, data_option, output_options, source_options
from edgekit.cli._progress import progress_display
from edgekit.cli._quantization import collected, quantization_options

_EPILOG = """\b
Example:
  edgekit convert model.pt2 --to tflite
  edgekit convert model.keras --to tflite --int8 --data calibration.npz
  edgekit convert model.pt --to all --int8 --fp16 --data calibration.npz
  edgekit convert weights.safetensors --model net.py:Net --input image=1,3,224,224 --to onnx
  edgekit convert model.pt2 --to tflite --int8 --data calibration.npz --exclude 'head.*' --optimize

The file's content decides what it is, not its suffix. Every result is run in its own runtime against the source
before it gets its name; exit code 7 says that one drifted too far. `edgekit list` shows which target can do which
scheme.
"""


@click.command(epilog=_EPILOG)
@click.argument("model", metavar="MODEL")
@click.option(
    "--to", "to", multiple=True, required=True, type=click.Choice([*registry.targets(), "all"]),
    help="Target format. Repeatable.",
)  # fmt: skip
@quantization_options
@data_option("Samples to calibrate with, and others of them to verify on; `random` for random calibration.")
@source_options
@click.option("-o", "--output", metavar="PATH", help="Folder, or file name for one result. Default: here.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--no-verify", is_flag=True, help="Do not run and compare the results.")
@click.option(
    "--allow-select-ops", is_flag=True,
    help="Take TensorFlow operators that LiteRT lacks into TFLite files; a runtime needs the Flex delegate for them.",
)  # fmt: skip
@click.option(
    "--keep-rounding", is_flag=True,
    help="Make float32 of a quantized ONNX file round activations as that file does, and not be faster for it.",
)  # fmt: skip
@click.option("--min-sqnr", type=float, metavar="DB", help="Limit for every result, in place of its scheme's own.")
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    to: tuple[str, ...],
    data: str | None,
    output: str | None,
    force: bool,
    no_verify: bool,
    min_sqnr: float | None,
    allow_select_ops: bool,
    keep_rounding: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert MODEL to TFLite, ONNX or ExecuTorch, in one or several schemes.

    MODEL is a file of PyTorch, Keras, TensorFlow, TFLite or ONNX, a SavedModel or Hugging Face folder, a jax.export
    artifact, or FILE.py:NAME for a JAX function.
    """
    from edgekit.convert import ConvertOptions, convert
    from edgekit.types import to_json

    chosen = collected(ctx)
    options = ConvertOptions(
        quant=chosen.quant,
        recipe=chosen.recipe,
        quantization=chosen.quantization,
        explicit=chosen.explicit,
        optimize=chosen.optimize,
        data=data,
        data_options=chosen_data(ctx),
        calibration_samples=chosen.calibration_samples,
        output=None if output is None else Path(output),
        force=force,
        check=not no_verify,
        min_sqnr_db=min_sqnr,
        source=chosen_source(ctx),
        allow_select_ops=allow_select_ops,
        keep_rounding=keep_rounding,
    )
    targets = list(registry.targets()) if "all" in to else list(to)
    with progress_display(quiet) as progress:
        report = convert(model, targets, options, progress)
    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report.convert_table import print_report

        print_report(report)
    if report.failures:
        ctx.exit(report.failures[0].exit_code)
