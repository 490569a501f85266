"""``edgekit profile``."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli._measured import measure, measured_options

_EPILOG = """\b
Examples:
  edgekit profile model.tflite model.int8.tflite model.int8.onnx
  edgekit profile model.int8.pte --reference model.pt2 --data test.npz --threads 2
  edgekit profile model.int8.tflite --ops --require-delegated 0.95
"""


@click.command("profile", epilog=_EPILOG)
@measured_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Measure .tflite, .onnx and .pte files, on this machine or on attached devices.

    Size, load time, first run, latency with its spread, peak memory; with --reference how far the outputs are
    from the source model's, with labels in --data the accuracy. Each file runs in a process of its own, and
    the files take turns, so that they can be compared.
    """
    from edgekit.profile import profile

    return measure(ctx, profile)
