"""What is said about how far a file's outputs are from a reference's; part of :mod:`edgekit.types`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One way of saying how far an output is off, over all samples and from sample to sample.

    Attributes:
        metric: ``max_abs``, ``mean_abs``, ``rmse``, ``sqnr``, ``psnr``, ``cosine``, ``kl`` or ``relative``.
        value: Over all elements of all samples; ``None`` when it is not defined, and then ``unavailable`` says why.
        unit: ``dB``, ``nat``, ``ratio``, or empty for the output's own.
        higher_is_better: Its direction.
        median: Over samples.
        p95: What 95 % of the samples are no worse than.
        worst: Of one sample.
        worst_sample: The place of that sample in the data, from 0; ``None`` where the two are identical.
        undefined: Samples in which it is not defined (SQNR of a reference of zeros); the three above are over the
            others. They are ``None`` where that sample has no error and the figure is a ratio to it.
    """

    metric: str
    value: float | None
    unit: str
    higher_is_better: bool
    median: float | None = None
    p95: float | None = None
    worst: float | None = None
    worst_sample: int | None = None
    unavailable: str = ""
    undefined: int = 0


@dataclass(frozen=True)
class Drift:
    """How far one output is from the reference, over all samples compared.

    Attributes:
        output: Name of the output.
        max_abs: Largest absolute difference, in the output's own unit, among the elements that are finite in both;
            ``None`` when there is none.
        sqnr_db: ``10*log10(sum(ref²)/sum((ref-out)²))``; ``None`` when the two are identical, or when it is not
            defined, and then ``finding`` says why.
        cosine: Cosine similarity of the two flattened tensors; ``None`` where one of them is zero everywhere.
        top1_agreement: Share of rows whose largest element is the same; for whole numbers and flags the share of
            equal ones; ``None`` where the output is neither those nor looks like class scores.
        samples: Number of samples compared.
        finding: Why the output counts as failed; empty when it passed.
        kind: What the output looks like: ``probabilities``, ``scores``, ``values`` or ``whole numbers``.
        figures: All figures, with their distribution over samples; empty where only the above were asked for.
    """

    output: str
    max_abs: float | None
    sqnr_db: float | None
    cosine: float | None
    top1_agreement: float | None
    samples: int
    finding: str = ""
    kind: str = ""
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class TaskFigure:
    """How well a file does its task, against labels, beside the reference on the same samples.

    Attributes:
        metric: ``top1``, ``top5``, ``f1``, ``mean_abs_error``, ``rmse``, ``r2``, ``auc``, ``map``, ``map50``, ``miou``,
            ``word_error_rate``, or the name of a user's function.
        unit: ``ratio``, or empty for the labels' own.
        higher_is_better: Its direction.
        value: Of the file; ``None`` when it could not be taken, and then ``unavailable`` says why.
        low, high: 95 % interval of that.
        reference: Of the reference; ``None`` without one.
        difference: ``value - reference``.
        difference_low, difference_high: 95 % interval of that, from the same samples (paired).
        method: How the interval of the difference was made: ``McNemar exact`` or ``paired bootstrap``.
        samples: Number of samples behind it.
        differs: Whether the two are shown to differ; ``None`` when there is nothing to say.
        samples_needed: How many samples would settle a difference of half a point; ``None`` where these suffice.
        words: All of this in a sentence for a reader.
    """

    metric: str
    unit: str
    higher_is_better: bool
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    method: str = ""
    samples: int = 0
    differs: bool | None = None
    samples_needed: int | None = None
    words: str = ""
    unavailable: str = ""


@dataclass(frozen=True)
class ClassFigures:
    """One class of a classification.

    Attributes:
        label: Its number.
        name: Where the data names it; else empty.
        samples: With this label.
        recall, reference_recall: Share of those that file and reference got right; ``None`` without samples.
    """

    label: int
    name: str
    samples: int
    recall: float | None
    reference_recall: float | None = None


@dataclass(frozen=True)
class Flips:
    """Samples that reference and file put into other classes.

    Attributes:
        broken, repaired: How many the reference had right and the file wrong, and the other way round.
        other: How many both have wrong, in other ways.
        broken_samples, repaired_samples: Places in the data of the first hundred.
        confusion: Row by row: how many samples the reference put into the class of the row, and the file into that of
            the column.
    """

    broken: int
    repaired: int
    other: int
    broken_samples: tuple[int, ...]
    repaired_samples: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TaskResult:
    """A task measured on one file.

    Attributes:
        task: Its name.
        decoding: How outputs were read, in words, and what the user can set.
        figures: The first is the headline.
        classes, flips: Of a classification.
        findings: What is wrong with labels or outputs, a sentence each.
    """

    task: str
    decoding: str
    figures: tuple[TaskFigure, ...]
    classes: tuple[ClassFigures, ...] = ()
    flips: Flips | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerDrift:
    """One tensor inside the network, in a float file and in the file that is looked at.

    Attributes:
        index: Order of execution in the file.
        operator: That made it, as the format calls it.
        module: Path of that in the source; empty where the file does not say.
        tensor, reference_tensor: Names in the two files.
        matched: How the two were found to belong together: ``name``, ``module`` or ``order``.
        shape: Of the tensor.
        sqnr_db: Over the samples; ``None`` when identical, or where ``finding`` says why it is not defined.
        lost_db: By how much that is below the worst of the layers that feed it; 0 where it is not.
        reference_low, reference_high, low, high: Least and largest values in the two files.
        exclude: What to give ``--exclude`` to keep this layer float; empty where nothing does.
        finding: What is wrong beside noise (not finite, dead, clipped, another shape).
    """

    index: int
    operator: str
    module: str
    tensor: str
    reference_tensor: str
    matched: str
    shape: tuple[int, ...]
    sqnr_db: float | None
    lost_db: float
    reference_low: float | None
    reference_high: float | None
    low: float | None
    high: float | None
    exclude: str = ""
    finding: str = ""


@dataclass(frozen=True)
class LayersResult:
    """Where drift begins.

    Attributes:
        reference: The float file that the layers were compared with, in words.
        samples: That both were run on.
        layers: In order of execution.
        first: ``index`` of the first layer where SQNR collapses; ``None`` when none does.
        worst: ``index`` of up to ten layers that lose most, the worst first.
        debug_db: SQNR of the final outputs of the file with all its tensors as outputs to those of the file itself;
            ``None`` when they are identical.
        words: The finding, in a sentence or two for a reader.
        unmatched: Names of tensors of the file without a partner.
        notes: What a reader should know.
    """

    reference: str
    samples: int
    layers: tuple[LayerDrift, ...]
    first: int | None
    worst: tuple[int, ...]
    debug_db: float | None
    words: str
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A file judged by the bands of its scheme.

    Attributes:
        status: ``equal``, ``acceptable``, ``degraded``, ``broken``, or ``none`` where there can be no verdict.
        reasons: Why, a sentence each.
    """

    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class FileDrift:
    """All about the drift of one file.

    Attributes:
        path, target, scheme, sha256: Of the file.
        outputs: Against the reference.
        float_file: The float file of the same format that tells conversion and quantization apart; empty without one.
        conversion: That file against the reference.
        quantization: This file against that one.
        task: With labels.
        layers: Where that was asked for.
        device: That it ran on.
    """

    path: str
    target: str
    scheme: str
    sha256: str
    outputs: tuple[Drift, ...]
    verdict: Verdict
    float_file: str = ""
    conversion: tuple[Drift, ...] = ()
    quantization: tuple[Drift, ...] = ()
    task: TaskResult | None = None
    layers: LayersResult | None = None
    notes: tuple[str, ...] = ()
    device: str = "host"


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a sample.

    Attributes:
        sample: Its place in the data, from 0.
        png: The picture, PNG in base64.
        label: Its class, by name or number; empty without labels.
        width, height: In pixels.
    """

    sample: int
    png: str
    label: str
    width: int
    height: int
