"""Names, dtypes and sizes of the inputs of a Hugging Face model."""

from __future__ import annotations

from collections.abc import Mapping

from converters import opening, shapes
from converters.huggingface.network import Built
from converters.huggingface.tasks import AUDIO, TEXT
from edgekit.errors import UsageError
from edgekit.inputs import parse
from edgekit.requests import LoadRequest
from edgekit.types import TensorSpec

USUAL_TOKENS = 128
"""Where nobody says how many, and the model can take as many."""


def specs(built: Built, request: LoadRequest) -> tuple[TensorSpec, ...]:
    """The inputs with all sizes: of ``--input``, else of the data, else of the folder.

    Notes about sizes that nobody asked for are added to ``built.notes``.

    Raises:
        UsageError: A size cannot be known, or does not go with the model.
    """
    if built.task.modality == TEXT:
        return _text(built, request)
    if built.task.modality == AUDIO:
        return _audio(built, request)
    channels = int(getattr(built.config, "num_channels", 3) or 3)
    given = {item.name for item in map(parse, request.inputs)}
    sizes = (None, None) if given or request.data is not None else image_size(built)
    return shapes.settle([TensorSpec("pixel_values", (None, channels, *sizes), "float32")], request)


def image_size(built: Built) -> tuple[int | None, int | None]:
    """Height and width: of the image processor, else of the model's configuration."""
    settings = built.folder.settings("preprocessor_config.json") or built.folder.settings("processor_config.json")
    settings = settings.get("image_processor") or settings
    for key in ("crop_size", "size"):
        size = settings.get(key)
        if key == "crop_size" and settings.get("do_center_crop") is False:
            continue
        if isinstance(size, Mapping) and {"height", "width"} <= set(size):
            return int(size["height"]), int(size["width"])
        if isinstance(size, int):
            return size, size
    own = getattr(built.config, "image_size", None)
    if isinstance(own, int):
        return own, own
    return (int(own[0]), int(own[1])) if isinstance(own, list | tuple) and len(own) == 2 else (None, None)


def _text(built: Built, request: LoadRequest) -> tuple[TensorSpec, ...]:
    tokens, said = _tokens(built, request)
    dataset = opening.dataset_of(request)
    batches = {item.shape[0] for item in map(parse, request.inputs) if item.name in built.inputs and item.shape}
    batch = batches.pop() if len(batches) == 1 else None
    open_axes = [TensorSpec(name, (batch, tokens), "int64") for name in built.inputs]
    found = shapes.settle(open_axes, request)
    if tokens is not None and not said and dataset is None:
        built.notes.append(f"Sequences have {tokens} tokens; --input input_ids=1,N sets another length.")
    most = _most(built)
    length = found[0].shape[1]
    if most is not None and length is not None and length > most:
        raise UsageError(
            f"{request.path}: sequences of {length} tokens are too long: the model has {most} positions.",
            hint=f"--input input_ids=1,{most}",
        )
    return found


def _tokens(built: Built, request: LoadRequest) -> tuple[int | None, bool]:
    """The length of sequences, and whether an option says it; ``None`` where the data shows it."""
    given = {item.name: item.shape for item in map(parse, request.inputs)}
    lengths = {shape[1] for name, shape in given.items() if name in built.inputs and len(shape) == 2}
    if len(lengths) > 1:
        raise UsageError(
            f"--input: all inputs of {request.path} have the same length, and these have {sorted(map(str, lengths))}.",
            hint="--input input_ids=1,128",
        )
    if lengths or given:
        return (lengths.pop() if lengths else None), True
    if request.data is not None:
        return None, False
    limits = [size for size in (_most(built), built.folder.longest) if size is not None]
    return min([USUAL_TOKENS, *limits]), False


def _most(built: Built) -> int | None:
    """Positions that the model has; ``None`` where there is no limit."""
    config = getattr(built.config, "text_config", built.config)  # of two towers
    size = getattr(config, "max_position_embeddings", None)
    if not isinstance(size, int) or size < 1:
        return None
    for name, module in built.model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "num_embeddings", None) == size:
            # RoBERTa's positions begin behind the one of padding.
            return size - (module.padding_idx + 1 if module.padding_idx is not None else 0)
    return size


def _audio(built: Built, request: LoadRequest) -> tuple[TensorSpec, ...]:
    (name,) = built.inputs
    frames, bins = getattr(built.config, "max_length", None), getattr(built.config, "num_mel_bins", None)
    if name == "input_values" and bins and frames:  # a spectrogram all the same
        return shapes.settle([TensorSpec(name, (None, frames, bins), "float32")], request)
    if name == "input_values":
        return shapes.settle([TensorSpec(name, (None, None), "float32")], request)
    positions = getattr(built.config, "max_source_positions", None)
    # Two convolutions come before the positions; the second halves the frames.
    frames = 2 * positions if isinstance(positions, int) else None
    return shapes.settle([TensorSpec(name, (None, bins, frames), "float32")], request)
