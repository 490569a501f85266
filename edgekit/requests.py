"""What a source is asked, and what it answers: the data of the jobs behind :class:`edgekit.plugins.Source`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True)
class LoadRequest:
    """The arguments of a source's ``load`` and ``inspect``; JSON by :func:`edgekit.types.to_json`.

    Attributes:
        path: The user's file or folder, as typed.
        model_code: ``--model FILE.py:NAME``, or ``None``.
        trust: Whether code inside the file may run.
        inputs: ``--input``, as typed.
        outputs: ``--output-name``: tensors to return, for formats that do not say it.
        signature: ``--signature``: which of several entry points; ``None`` for the usual one.
        task: ``--task``; ``None`` where the file says it.
        layouts: ``--layout``, as typed: ``nchw`` or ``NAME=nhwc``.
        dynamic: ``--dynamic``, as typed: ``batch`` or ``NAME.AXIS``.
        data: Folder of an :class:`edgekit.data.Dataset`, or ``None``: then the samples are random.
        random_calibration: Number of random calibration samples, where there is no data and a user asked for that.
        calibration_samples: How many of the data to calibrate with; as far as there are enough, ``samples`` are others.
        samples: How many to run; all of the data when ``None``.
        program: Whether to write the program.
        into: An existing folder for what is written.
    """

    path: str
    model_code: str | None = None
    trust: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    signature: str | None = None
    task: str | None = None
    layouts: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    data: str | None = None
    random_calibration: int = 0
    calibration_samples: int = 0
    samples: int | None = None
    program: bool = True
    into: str = ""


class Loaded(TypedDict):
    """What ``load`` returns, beside the folders ``feeds``, ``reference`` and, where asked for, ``calibration``.

    Attributes:
        kind: What the file turned out to be, in words.
        signature: :class:`edgekit.types.Signature` as JSON, with the user's names.
        program: Path of the code-free form; nothing is there where it was not asked for.
        fingerprint: Hash of what the program computes, weights included.
        quantized: Whether the model arrived quantized.
        notes: What a user should know, a sentence each.
        suspicion: Why the data does not look like what the model was trained on; empty when it does.
    """

    kind: str
    signature: dict[str, object]
    program: str
    fingerprint: str
    quantized: bool
    notes: list[str]
    suspicion: str
