"""What a model is used for: which architectures do it, what goes in, and what comes out under which name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from converters.huggingface.folder import Folder
from edgekit.errors import UnsupportedError, UsageError

TEXT, IMAGE, AUDIO = "text", "image", "audio"
_GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "DoubleHeadsModel")


@dataclass(frozen=True)
class Task:
    """One of ``--task``.

    Attributes:
        name: As typed.
        modality: What goes in.
        heads: Ends of the names of architectures that are made for it; empty for what any encoder does.
        auto: The class of transformers that knows such an architecture for each kind of model.
        outputs: Field of what the model returns, to the name of the output.
    """

    name: str
    modality: str
    heads: tuple[str, ...] = ()
    auto: str = "AutoModel"
    outputs: Mapping[str, str] = field(default_factory=dict, hash=False)


_STATES = {"last_hidden_state": "last_hidden_state"}
_ALL = (
    Task(
        "text-classification",
        TEXT,
        ("ForSequenceClassification",),
        "AutoModelForSequenceClassification",
        {"logits": "logits"},
    ),
    Task(
        "token-classification",
        TEXT,
        ("ForTokenClassification",),
        "AutoModelForTokenClassification",
        {"logits": "logits"},
    ),
    Task(
        "question-answering",
        TEXT,
        ("ForQuestionAnswering",),
        "AutoModelForQuestionAnswering",
        {"start_logits": "start_logits", "end_logits": "end_logits"},
    ),
    Task("fill-mask", TEXT, ("ForMaskedLM",), "AutoModelForMaskedLM", {"logits": "logits"}),
    Task(
        "image-classification",
        IMAGE,
        ("ForImageClassification", "ForImageClassificationWithTeacher"),
        "AutoModelForImageClassification",
        {"logits": "logits"},
    ),
    Task("feature-extraction", TEXT, outputs=_STATES),
    Task("sentence-embedding", TEXT),
    Task("image-feature-extraction", IMAGE, outputs=_STATES),
    Task("audio-feature-extraction", AUDIO, outputs=_STATES),
    Task("text-embedding", TEXT),
    Task("image-embedding", IMAGE),
)
TASKS = {task.name: task for task in _ALL}
"""All of them, by name."""

FEATURES = {TEXT: "feature-extraction", IMAGE: "image-feature-extraction", AUDIO: "audio-feature-extraction"}
"""What an encoder of each kind does when nothing else is asked of it."""
PAIR = ("text-embedding", "image-embedding")
"""What models of two towers, such as CLIP, do."""


def choose(folder: Folder, asked: str | None) -> Task | None:
    """The task that is asked for, or that the folder says; ``None`` where it takes the model to tell.

    Raises:
        UsageError: There is no such task, or the architecture has another head.
        UnsupportedError: It writes text, or does something that no task here is.
    """
    if asked is not None and asked not in TASKS:
        raise UsageError(f"--task {asked}: edgekit knows no such task.", hint=f"There are {', '.join(TASKS)}.")
    architecture = next(iter(folder.architectures), "")
    own = next((task for task in _ALL if task.heads and architecture.endswith(task.heads)), None)
    if asked is not None:
        task = TASKS[asked]
        if architecture and task.heads and task is not own:
            others = [item.name for item in _ALL if not item.heads and item.name not in PAIR]
            raise UsageError(
                f"--task {asked}: {folder.path} is a {architecture}, which has no such head.",
                hint=f"--task {own.name}" if own else f"Without that head, an encoder does {', '.join(others)}.",
            )
        return task
    if folder.modules:
        return TASKS["sentence-embedding"]
    if own is None and not architecture:
        raise UsageError(
            f"{folder.path}: its config.json does not say what the model is for (no architectures).",
            hint=f"--task NAME, one of {', '.join(TASKS)}",
        )
    return own


def from_model(folder: Folder, modality: str, pair: bool) -> Task:
    """The task of an architecture whose name does not tell it.

    Args:
        folder: Of the model.
        modality: Of the model's main input.
        pair: Whether it embeds both texts and pictures.

    Raises:
        UsageError: There are several.
        UnsupportedError: It writes text, or does something that no task here is.
    """
    architecture = next(iter(folder.architectures), "")
    if pair:
        raise UsageError(
            f"{folder.path}: a {architecture} has an encoder for text and one for images, each a model of its own.",
            hint=f"--task {PAIR[0]} or --task {PAIR[1]}",
        )
    plain = architecture.endswith(("Model", "Encoder")) and not architecture.endswith(_GENERATORS)
    if plain or (modality == AUDIO and architecture.endswith("ForConditionalGeneration")):
        return TASKS[FEATURES[modality]]
    encoder = f"--task {FEATURES[modality]} converts what comes before its head."
    if architecture.endswith(_GENERATORS):
        raise UnsupportedError(
            f"{folder.path}: {architecture} writes text token by token, which edgekit does not convert yet.",
            hint=encoder,
        )
    raise UnsupportedError(
        f"{folder.path}: edgekit has no task for the head of {architecture}.",
        hint=f"{encoder} Tasks with a head: {', '.join(task.name for task in _ALL if task.heads)}.",
    )


@dataclass(frozen=True)
class Pooling:
    """How the states of the tokens become one embedding.

    Attributes:
        mode: ``mean``, ``cls`` or ``max``.
        normalize: Whether its length becomes 1.
    """

    mode: str = "mean"
    normalize: bool = True

    def __str__(self) -> str:
        return f"{self.mode} pooling" + (", normalized" if self.normalize else "")


_MODES = {"cls": "cls", "mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "max_tokens": "max", "max": "max"}


def pooling(folder: Folder) -> Pooling:
    """What the files of sentence-transformers say; mean and normalized where there are none.

    Raises:
        UnsupportedError: There are steps besides pooling and normalizing, or another kind of pooling.
    """
    if not folder.modules:
        return Pooling()
    names = [module.name for module in folder.modules]
    unknown = [name for name in names if name not in ("Transformer", "Pooling", "Normalize")]
    if unknown or names[0] != "Transformer" or names.count("Pooling") != 1:
        raise UnsupportedError(
            f"{folder.path}: modules.json lists {', '.join(names)}; edgekit converts Transformer, Pooling, Normalize.",
            hint="--task feature-extraction converts the transformer alone.",
        )
    settings = folder.modules[names.index("Pooling")].settings
    modes = _pooling_modes(settings)
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UnsupportedError(
            f"{folder.path}: pooling by {' and '.join(modes) or 'nothing'}; edgekit pools by mean, cls or max.",
            hint="--task feature-extraction converts the transformer alone.",
        )
    return Pooling(_MODES[modes[0]], "Normalize" in names)


def _pooling_modes(settings: Mapping[str, object]) -> Sequence[str]:
    """Flags such as ``pooling_mode_mean_tokens``, or the newer ``pooling_mode``, a word or several."""
    prefix = "pooling_mode_"
    flags = [key.removeprefix(prefix) for key, value in settings.items() if key.startswith(prefix) and value is True]
    mode = settings.get("pooling_mode")
    return flags or ([mode] if isinstance(mode, str) else list(map(str, mode)) if isinstance(mode, list) else [])
