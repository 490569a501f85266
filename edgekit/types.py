"""The data that passes between commands, children, reports and files.

Frozen dataclasses, JSON both ways (:func:`to_json`, :func:`from_json`). Units are in the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from edgekit.device_types import DeviceFacts as DeviceFacts
from edgekit.device_types import Place as Place
from edgekit.drift_types import Drift as Drift
from edgekit.drift_types import FileDrift as FileDrift
from edgekit.drift_types import Thumbnail as Thumbnail
from edgekit.measured_types import Comparison as Comparison
from edgekit.measured_types import Measurement as Measurement
from edgekit.measured_types import Moment as Moment
from edgekit.measured_types import NodeWork as NodeWork
from edgekit.measured_types import OperatorTime as OperatorTime
from edgekit.measured_types import Profile as Profile
from edgekit.measured_types import Sustained as Sustained
from edgekit.measured_types import Turn as Turn

SCHEMA_VERSION = 2

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The name a user sees, in every file format.
        shape: Sizes, ``None`` for a dynamic dimension.
        dtype: NumPy dtype name, such as ``float32``.
        scale, zero_point: Of an integer that stands for ``scale * (value - zero_point)``; ``None`` for plain ones.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def __str__(self) -> str:
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Scheme:
    """What a quantization scheme means on every target.

    Attributes:
        name: As typed after ``--quant``.
        flag: The option that is its short form; empty for ``float32``.
        weight_bits: Bits of a stored weight.
        activation_bits: Bits of an activation where operators are quantized.
        granularity: ``per-channel``, ``per-tensor`` or ``-``, of the weights.
        activations: ``float``, ``static`` (ranges from calibration) or ``dynamic`` (ranges at run time).
        needs_calibration: Whether representative data must be given.
        min_sqnr_db: Signal-to-quantization-noise ratio under which a file of this scheme fails.
        summary: One line for help texts.
    """

    name: str
    flag: str
    weight_bits: int
    activation_bits: int
    granularity: str
    activations: str
    needs_calibration: bool
    min_sqnr_db: float
    summary: str


@dataclass(frozen=True)
class Rule:
    """One line of a recipe: layers that match get a scheme of their own.

    Attributes:
        match: A module path or an operator type, with ``*`` and ``?``, or a preset such as ``@last``; what matches
            is written down in :mod:`converters.layers`.
        scheme: Name of the scheme; ``float32`` keeps the layers float.
    """

    match: str
    scheme: str = "float32"


@dataclass(frozen=True)
class Quantization:
    """How to quantize, beside the scheme: the same words for every target.

    Attributes:
        method: Of calibration: ``auto``, ``minmax``, ``percentile[:99.9]``, ``mse`` or ``entropy``.
        cpu: That the file is for: ``x86-vnni``, ``x86`` or ``arm``.
        io: ``float`` or ``int8``: what inputs and outputs of the file are.
        rules: In order; the first that matches a layer decides.
    """

    method: str = "auto"
    cpu: str = "x86-vnni"
    io: str = "float"
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class FloatOperator:
    """An operator that stayed float in a quantized file."""

    operator: str
    name: str


@dataclass(frozen=True)
class Verification:
    """The verdict on one converted file.

    Attributes:
        status: ``passed``, ``failed`` or ``skipped`` (``--no-verify``).
        inputs: Where the inputs came from, in words.
        min_sqnr_db: The limit that was applied.
        outputs: One drift per output.
    """

    status: str
    inputs: str
    min_sqnr_db: float
    outputs: tuple[Drift, ...] = ()


@dataclass(frozen=True)
class CalibrationFacts:
    """Where the ranges of a file with static activations came from.

    Attributes:
        ranges: The kept file, for ``edgekit inspect``; empty where none could be kept.
        method: That chose them.
        samples: Number of samples they were taken from.
        reused: Whether an earlier command had computed them.
    """

    ranges: str
    method: str
    samples: int
    reused: bool


@dataclass(frozen=True)
class OptimizeStep:
    """One thing that ``--optimize`` tried.

    Attributes:
        name: What.
        before_db, after_db: SQNR of the simulated int8 outputs; ``None`` where it is not finite.
        kept: Whether it stayed in.
    """

    name: str
    before_db: float | None
    after_db: float | None
    kept: bool


@dataclass(frozen=True)
class Artifact:
    """One converted file, and everything needed to judge and repeat it."""

    path: str
    target: str
    scheme: str
    size_bytes: int
    sha256: str
    signature: Signature
    verification: Verification
    stayed_float: tuple[FloatOperator, ...] = ()
    undelegated: tuple[FloatOperator, ...] = ()
    notes: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    command: str = ""
    calibration: CalibrationFacts | None = None
    optimized: tuple[OptimizeStep, ...] = ()
    recipe: str = ""


@dataclass(frozen=True)
class Failure:
    """Something asked for that could not be made or measured."""

    what: str
    error: str
    exit_code: int
    message: str
    hint: str = ""
    log: str = ""


@dataclass(frozen=True)
class Report:
    """What a command hands over; also its ``--json`` output.

    Attributes:
        devices: Where files ran, in the order that they were given.
        thumbnails: Pictures of samples that went from right to wrong.
        invocation: The command line that made it; empty where a program called the library.
        data: What files were run on (:func:`edgekit.data_facts.of_samples`), and ``random``: whether it was made up.
    """

    command: str
    schema_version: int = SCHEMA_VERSION
    source: str = ""
    artifacts: tuple[Artifact, ...] = ()
    profiles: tuple[Profile, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    drifts: tuple[FileDrift, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    devices: tuple[Place, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    invocation: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def to_json(value: Any) -> Any:
    """A dataclass of this file as plain data."""
    return asdict(value)


def from_json(kind: type[T], data: Any) -> T:
    """The dataclass that :func:`to_json` wrote.

    Raises:
        cattrs.ClassValidationError: A field is missing or of another type.
    """
    import cattrs

    return cattrs.structure(data, kind)
