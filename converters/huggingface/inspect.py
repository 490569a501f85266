"""What is in a Hugging Face folder: as of a PyTorch program, and what its descriptions say."""

from __future__ import annotations

from typing import Any

from converters.huggingface import loading
from converters.huggingface.network import Built
from converters.pytorch.inspect import facts_of
from edgekit.requests import LoadRequest
from edgekit.types import from_json, to_json

_PROCESSING = ("image_processor_type", "feature_extractor_type", "do_resize", "size", "do_center_crop", "crop_size",
               "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "sampling_rate")  # fmt: skip


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a folder.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.

    Returns:
        :class:`converters.facts.ModelFacts` as JSON; ``metadata`` holds ``model_type``, ``architectures``, ``task``,
        ``labels``, ``tokenizer`` and the settings of the image processor or feature extractor, as far as there are any.
    """
    asked = from_json(LoadRequest, request)
    with loading.opened(asked) as (built, exported):
        network = loading.network_of(built, exported)
        facts = facts_of(network, exported, list(built.inputs), "Hugging Face", metadata(built))
    return dict(to_json(facts))


def metadata(built: Built) -> dict[str, str]:
    """What the folder says beside its network."""
    folder = built.folder
    found = {
        "model_type": folder.model_type,
        "architectures": ", ".join(folder.architectures),
        "task": built.task.name,
        "labels": ", ".join(map(str, (folder.config.get("id2label") or {}).values())) if built.task.heads else "",
        "tokenizer": _tokenizer(built),
    }
    settings = folder.settings("preprocessor_config.json") or folder.settings("processor_config.json")
    settings = settings.get("image_processor") or settings.get("feature_extractor") or settings
    found |= {name: str(settings[name]) for name in _PROCESSING if settings.get(name) is not None}
    return {name: text for name, text in found.items() if text}


def _tokenizer(built: Built) -> str:
    if not built.folder.has_tokenizer:
        return ""
    settings = built.folder.settings("tokenizer_config.json")
    parts = [str(settings.get("tokenizer_class") or "of its own kind")]
    size = getattr(built.config, "vocab_size", None)
    parts += [f"{size} tokens"] if size else []
    parts += [f"at most {built.folder.longest} in a sequence"] if built.folder.longest else []
    return ", ".join(parts)
