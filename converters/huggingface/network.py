"""From a folder to a network that takes named tensors and returns those that matter.

Runs with edgekit's packages out of sight (see :mod:`converters.user_code`): all of edgekit's is imported at the top.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.huggingface import folder as folders
from converters.huggingface import tasks
from converters.huggingface.folder import Folder
from converters.huggingface.tasks import AUDIO, IMAGE, TEXT, Pooling, Task
from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UntrustedError, UsageError, first_line
from edgekit.requests import LoadRequest
from edgekit.types import TensorSpec

_MODALITIES = {"input_ids": TEXT, "pixel_values": IMAGE, "input_features": AUDIO, "input_values": AUDIO}
_SHOWN = 6


@dataclass
class Built:
    """A model that runs.

    Attributes:
        folder: It came from.
        model: ``torch.nn.Module``; ``forward`` takes the inputs in order and returns a dict of tensors.
        config: Of the part that runs.
        task: What it does.
        inputs: Their names, in the model's order.
        specs: Of the inputs, with all sizes (:func:`converters.huggingface.sizes.specs`); empty until they are known.
        missing: Weights that were not in the files and were made up; no output may depend on them.
        notes: What a user should know.
    """

    folder: Folder
    model: Any
    config: Any
    task: Task
    inputs: tuple[str, ...]
    missing: tuple[str, ...] = ()
    specs: tuple[TensorSpec, ...] = ()
    notes: list[str] = field(default_factory=list)


@contextmanager
def offline(scratch: str) -> Iterator[None]:
    """No download by transformers, no question to the hub; copies of trusted code go to the scratch folder."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    import huggingface_hub.constants
    import transformers
    from transformers import dynamic_module_utils

    huggingface_hub.constants.HF_HUB_OFFLINE = True  # read from the environment at import, which may be long ago
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kept = dynamic_module_utils.HF_MODULES_CACHE
    if scratch:
        dynamic_module_utils.HF_MODULES_CACHE = str(Path(scratch) / "code")
    try:
        yield
    finally:
        dynamic_module_utils.HF_MODULES_CACHE = kept


def build(request: LoadRequest) -> Built:
    """Read the folder's model; call inside :func:`offline` and :func:`converters.user_code.user_imports`.

    Raises:
        UntrustedError: It would run code.
        UsageError: ``--task`` does not fit, or is needed.
        UnsupportedError: No task here is what it does, or the installed transformers does not know it.
        ConversionError: The weights are damaged, or do not belong to the configuration.
    """
    folder = folders.read(Path(request.path))
    task = tasks.choose(folder, request.task)
    folders.check(folder, request.trust)
    factory, notes = _factory(folder, task, request.trust)
    model, missing, more = _loaded(folder, factory, request.trust)
    modality = _MODALITIES.get(str(model.main_input_name), "")
    pair = hasattr(model, "get_image_features") and hasattr(model, "get_text_features")
    if not modality:
        raise UnsupportedError(
            f"{folder.path}: {type(model).__name__} takes {model.main_input_name}; edgekit converts models that take "
            f"{', '.join(_MODALITIES)}."
        )
    task = task or tasks.from_model(folder, modality, pair)
    if (task.name in tasks.PAIR) != pair and (pair or task.name in tasks.PAIR):
        hint = f"--task {tasks.PAIR[0]} or --task {tasks.PAIR[1]}" if pair else ""
        raise UsageError(f"--task {task.name} does not go with {type(model).__name__}.", hint=hint)
    if task.modality != modality and not pair:
        raise UsageError(
            f"--task {task.name} is about {task.modality}, and {type(model).__name__} takes {model.main_input_name}.",
            hint=f"--task {tasks.FEATURES[modality]}",
        )
    part, forward, said = _narrowed(folder, model, task)
    config = getattr(part, "config", model.config)
    inputs = _inputs(part if not pair else model, config, task)

    def positional(*tensors: Any) -> dict[str, Any]:
        return forward(**dict(zip(inputs, tensors, strict=True)))

    part.forward = positional  # no module around it: the names of layers stay those that users know
    return Built(folder, part, config, task, inputs, missing, notes=[*notes, *more, *said])


def _factory(folder: Folder, task: Task | None, trust: bool) -> tuple[Any, list[str]]:
    """The class to load with, and what to say about it."""
    import transformers

    if trust and folders.has_code(folder) and folder.config.get("auto_map"):
        return _auto_class(folder, task), ["Code in the folder was run (--trust)."]
    if folder.model_type and folder.model_type not in transformers.CONFIG_MAPPING:
        raise UnsupportedError(
            f"{folder.path}: transformers {transformers.__version__} knows no model type {folder.model_type!r}.",
            hint="A newer release may: pip install --upgrade transformers",
        )
    for name in folder.architectures[:1]:
        found = getattr(transformers, name, None)
        if found is None or not hasattr(found, "from_pretrained"):
            raise UnsupportedError(
                f"{folder.path}: transformers {transformers.__version__} has no architecture {name}.",
                hint="A newer release may: pip install --upgrade transformers",
            )
        return found, []
    return getattr(transformers, task.auto if task else "AutoModel"), []


def _auto_class(folder: Folder, task: Task | None) -> Any:
    import transformers

    entries = folder.config["auto_map"]
    named = {str(place).rpartition(".")[2]: auto for auto, place in entries.items() if auto.startswith("AutoModel")}
    own = named.get(next(iter(folder.architectures), ""))
    auto = own or (task.auto if task and task.auto in entries else next(iter(named.values()), "AutoModel"))
    return getattr(transformers, auto)


def _loaded(folder: Folder, factory: Any, trust: bool) -> tuple[Any, tuple[str, ...], list[str]]:
    """The model, the names of made-up weights, and what to say."""
    import torch

    code = trust and folders.has_code(folder)
    safe = folders.weight_files(folder)[0].suffix == ".safetensors"
    try:
        model, found = factory.from_pretrained(
            str(folder.model),
            local_files_only=True,
            trust_remote_code=code,
            use_safetensors=safe,
            weights_only=not trust,
            ignore_mismatched_sizes=True,  # they are listed below, all of them
            output_loading_info=True,
            attn_implementation="eager",  # plain operators: every target has them, and masks are numbers
            dtype=torch.float32,
        )
    except pickle.UnpicklingError as error:
        raise UntrustedError(
            f"{folder.path}: pytorch_model.bin is a pickle that needs code of its own. Loading it would run that code; "
            "nothing was run.",
            hint="Add --trust if you know where the folder comes from; or save it again: "
            "save_pretrained writes safetensors.",
        ) from error
    except EdgekitError:
        raise
    except Exception as error:  # a configuration or code that transformers cannot make a model of
        raise ConversionError(
            f"{folder.path}: transformers cannot load it: {type(error).__name__}: {first_line(error)}",
            hint="Check that all files of the folder are there and of one version of the model.",
        ) from error
    _refuse_other_weights(folder, model, found)
    model.config.use_cache = False
    stored = str(folder.config.get("dtype") or folder.config.get("torch_dtype") or "float32")
    notes = [f"Its weights are stored as {stored} and were widened to float32."] if stored != "float32" else []
    return model.eval(), tuple(sorted(found["missing_keys"])), notes


def _refuse_other_weights(folder: Folder, model: Any, found: Mapping[str, Any]) -> None:
    """Missing ones are looked at later: only then is it known which of them an output depends on."""
    unexpected = sorted(found["unexpected_keys"])
    shapes = [f"{name} ({list(own)} in the file, {list(wanted)} by config.json)" for name, own, wanted in _other(found)]
    parts = [listed("of another shape", shapes), listed("unknown to the network", unexpected), *found["error_msgs"]]
    if any(parts):
        raise ConversionError(
            f"{folder.path}: the weights do not belong to {type(model).__name__} as config.json has it: "
            + "; ".join(filter(None, parts))
            + ".",
            hint="Are config.json and the weights of the same model?",
        )


def _other(found: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return sorted((item[0], item[1], item[2]) for item in found["mismatched_keys"])


def listed(title: str, names: list[str]) -> str:
    """``title: a, b and 3 more``; empty where there are no names."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{title}: {', '.join(names[:_SHOWN])}{more}" if names else ""


Forward = Callable[..., dict[str, Any]]


def _narrowed(folder: Folder, model: Any, task: Task) -> tuple[Any, Forward, list[str]]:
    """The part of a model that a task takes, its new ``forward``, and what to say."""
    if task.name in tasks.PAIR:
        get = model.get_image_features if task.modality == IMAGE else model.get_text_features

        def embed(**inputs: Any) -> dict[str, Any]:
            found = get(**inputs)
            return {"embedding": getattr(found, "pooler_output", found)}

        return model, embed, []
    part = model
    if not task.heads:
        part = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    # Bound now: the part's own forward is replaced.
    forward = part.forward
    if task.name == "sentence-embedding":
        how = tasks.pooling(folder)

        def pool(**inputs: Any) -> dict[str, Any]:
            states = forward(**inputs, return_dict=True).last_hidden_state
            return {"embedding": _pooled(states, inputs["attention_mask"], how)}

        return part, pool, [f"The embedding is by {how}."]

    def select(**inputs: Any) -> dict[str, Any]:
        found = forward(**inputs, return_dict=True)
        return {name: found[key] for key, name in task.outputs.items()}

    return part, select, []


def _pooled(states: Any, mask: Any, how: Pooling) -> Any:
    """Embeddings of ``(batch, width)`` from states of ``(batch, tokens, width)``; padding does not count."""
    import torch

    weights = mask.unsqueeze(-1).to(states.dtype)
    if how.mode == "cls":
        pooled = states[:, 0]
    elif how.mode == "max":
        pooled = torch.where(weights > 0, states, torch.full_like(states, -1e9)).amax(1)
    else:
        pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    if how.normalize:
        pooled = pooled / pooled.square().sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
    return pooled


def _inputs(model: Any, config: Any, task: Task) -> tuple[str, ...]:
    if task.modality == TEXT:
        names = ["input_ids", "attention_mask"]
        # Models without segments may have the parameter all the same, with one row.
        return (*names, "token_type_ids") if int(getattr(config, "type_vocab_size", 0) or 0) > 1 else tuple(names)
    return ("pixel_values",) if task.modality == IMAGE else (str(model.main_input_name),)
