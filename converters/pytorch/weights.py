"""Weights in a checkpoint, and the network they belong to.

Checkpoints nest their weights under many names and prefix them in many ways (DataParallel's ``module.``, Lightning's
``model.``, torch.compile's ``_orig_mod.``). Nothing is guessed: a prefix counts when taking it off makes every name
fit the network, and what does not fit is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import ConversionError

# Keys that training scripts keep weights under, in the order they are tried.
_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
_SHOWN = 6


def find_state_dict(loaded: Any, path: str) -> tuple[dict[str, Any], str]:
    """The weights in what ``torch.load`` returned.

    Returns:
        Name to tensor, and the key they were found under (empty for the top level).

    Raises:
        ConversionError: There are none.
    """
    found = _search(loaded, "")
    if found is None:
        held = f"a dict with keys {', '.join(map(repr, list(loaded)[:_SHOWN]))}" if isinstance(loaded, dict) else ""
        raise ConversionError(
            f"{path}: no weights found; the file holds {held or type(loaded).__name__}.",
            hint="Save model.state_dict(), or a dict with the weights under 'state_dict'.",
        )
    return found


def _search(value: Any, key: str) -> tuple[dict[str, Any], str] | None:
    import torch

    if not isinstance(value, Mapping):
        return None
    tensors = {str(name): item for name, item in value.items() if isinstance(item, torch.Tensor)}
    if tensors and len(tensors) == len(value):
        return tensors, key
    for name in _NESTED:
        if name in value:
            nested = value[name]
            nested = nested.state_dict() if isinstance(nested, torch.nn.Module) else nested
            found = _search(nested, f"{key}.{name}" if key else name)
            if found is not None:
                return found
    return (tensors, key) if tensors else None


def load_into(module: Any, weights: Mapping[str, Any], path: str, factory: str) -> list[str]:
    """Load weights into a network, all of them and nothing else.

    Returns:
        What was done to the names, a sentence each.

    Raises:
        ConversionError: Names or shapes differ; the differences are listed.
    """
    wanted = module.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    prefix = _prefix(set(weights), set(wanted) - counters)
    renamed = {name.removeprefix(prefix): item for name, item in weights.items() if name.startswith(prefix)}
    dropped = [name for name in weights if not name.startswith(prefix)]
    missing = sorted(set(wanted) - set(renamed) - counters)
    unexpected = sorted(name for name in set(renamed) - set(wanted))
    shapes = [
        f"{name} is {list(renamed[name].shape)} in the file and {list(wanted[name].shape)} in the network"
        for name in wanted
        if name in renamed and renamed[name].shape != wanted[name].shape
    ]
    if missing or unexpected or shapes:
        raise ConversionError(
            f"{path}: the weights do not belong to {factory}: "
            + "; ".join(
                part
                for part in (
                    _listed("missing from the file", missing),
                    _listed("unknown to the network", unexpected),
                    _listed("of another shape", shapes),
                )
                if part
            )
            + ".",
            hint="Check the arguments that the network was trained with (depth, width, classes).",
        )
    # Only the batch counters may be absent: they play no part in inference.
    module.load_state_dict({**{name: wanted[name] for name in counters}, **renamed}, strict=True)
    notes = [f"The prefix {prefix!r} was taken off the names of the weights."] if prefix else []
    if dropped:
        notes.append(f"Not part of the network: {_listed('tensors', dropped)}.")
    return notes


def _prefix(found: set[str], wanted: set[str]) -> str:
    """What to take off so that every wanted name is there; empty when nothing helps."""
    if wanted <= found or not wanted:
        return ""
    sample = min(wanted)
    candidates = sorted({name.removesuffix(sample) for name in found if name.endswith("." + sample)}, key=len)
    return next((prefix for prefix in candidates if {prefix + name for name in wanted} <= found), "")


def _listed(title: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{title}: {', '.join(names[:_SHOWN])}{more}"
