"""PyTorch models: ``.pt2``, TorchScript, pickled modules, checkpoints and safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.graph import TORCH_EXPORT
from converters.pytorch import kinds
from edgekit.plugins import Source


def load(
    path: str,
    model_code: str | None,
    trust: bool,
    inputs: list[str],
    data: str | None,
    random_calibration: int,
    calibration_samples: int,
    samples: int | None,
    program: bool,
    into: str,
) -> dict[str, Any]:
    """Read a model, run it on samples for reference, and write it as a program.

    The contract of every source's job. It writes below ``into``: ``feeds`` (the samples), ``reference`` (the source's
    own outputs on them), ``calibration`` (where samples for it were asked for), and the program.

    Args:
        path: The file.
        model_code: ``--model``, or ``None``.
        trust: Whether code inside the file may run.
        inputs: ``--input``, as typed.
        data: Folder of an :class:`edgekit.data.Dataset`, or ``None``: then the samples are random.
        random_calibration: Number of random calibration samples, where there is no data and a user asked for that.
        calibration_samples: How many of the data to calibrate with; as far as there are enough, ``samples`` are others.
        samples: How many to run; all of the data when ``None``.
        program: Whether to write the program.
        into: An existing folder.

    Returns:
        ``kind``, ``signature``, ``program`` (path), ``fingerprint`` (a hash of what the program computes),
        ``quantized`` (whether it arrived so), ``notes``, and ``suspicion`` (why the data does not look like that of
        training, or empty).
    """
    from converters.pytorch.loading import Request, load_and_run
    from edgekit.data import Dataset

    request = Request(
        path=Path(path),
        model_code=model_code,
        trust=trust,
        inputs=tuple(inputs),
        dataset=None if data is None else Dataset.open(Path(data)),
        random_calibration=random_calibration,
        calibration_samples=calibration_samples,
        samples=samples,
        program=program,
        into=Path(into),
    )
    return load_and_run(request)


SOURCE = Source(
    name="pytorch",
    title="PyTorch",
    identify=kinds.identify,
    form=TORCH_EXPORT,
    load="converters.sources.pytorch:load",
    inspect="converters.pytorch.inspect:inspect",
    preload=("torch",),
    packages=("torch",),
    extra="torch",
    suffixes=(".pt2", ".pt", ".pth", ".ckpt", ".th", ".bin", ".safetensors"),
)
