"""What to feed a network: example inputs, from the file, from ``--data`` or from ``--input``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.data import LABEL_NAMES, Dataset
from edgekit.errors import UsageError
from edgekit.inputs import parse
from edgekit.types import TensorSpec


def parameter_names(run: Any, scripted: bool) -> list[str]:
    """Names of the inputs that a network cannot do without; all positional ones of a TorchScript module."""
    if scripted:
        return [argument.name for argument in run.forward.schema.arguments[1:] if not argument.has_default_value()]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(run.forward).parameters.values()
    return [item.name for item in parameters if item.kind in kinds and item.default is inspect.Parameter.empty]


def specs_for(
    names: Sequence[str], options: Sequence[str], dataset: Dataset | None, run: Any, path: Path
) -> list[TensorSpec]:
    """Shapes and dtypes of the inputs of a network whose file does not say them.

    Args:
        names: Of the network's parameters.
        options: ``--input``, as typed.
        dataset: ``--data``; its first sample shows the shape, with a batch of 1.
        run: The network, for an example in the message.
        path: Its file.

    Raises:
        UsageError: Neither option says enough; the message shows what to type for this network.
    """
    if options:
        return _from_options(names, options)
    if dataset is not None:
        return _from_data(names, dataset)
    shown = _suggestion(names, run)
    raise UsageError(
        f"{path}: nothing says how large the inputs ({', '.join(names)}) are: the file holds no example inputs.",
        hint=f"edgekit convert {path.name} … {shown}   or   --data FILE with samples",
    )


def _from_options(names: Sequence[str], options: Sequence[str]) -> list[TensorSpec]:
    given = [parse(option) for option in options]
    if len(given) == 1 and not given[0].name and len(names) == 1:
        return [TensorSpec(names[0], given[0].shape, given[0].dtype)]
    by_name = {spec.name: spec for spec in given}
    unknown = [name for name in by_name if name not in names]
    missing = [name for name in names if name not in by_name]
    if unknown or missing:
        raise UsageError(
            f"--input: the model's inputs are {', '.join(names)}; "
            + " and ".join(
                part
                for part in (
                    f"unknown: {', '.join(map(repr, unknown))}" if unknown else "",
                    f"missing: {', '.join(missing)}" if missing else "",
                )
                if part
            )
            + ".",
            hint=" ".join(f"--input {name}=…" for name in names),
        )
    return [by_name[name] for name in names]


def _from_data(names: Sequence[str], dataset: Dataset) -> list[TensorSpec]:
    if dataset.pictures is not None and len(names) == 1:
        shape = dataset.shape_for(TensorSpec(names[0], (None,) * 4, "float32"), "nchw")
        return [TensorSpec(names[0], shape or (), "float32")]
    arrays: Mapping[str, Any] = {k: v for k, v in dataset.arrays.items() if k not in LABEL_NAMES or k in names}
    keys = {name: name for name in names}
    if len(names) == 1 and names[0] not in arrays:
        key = "x" if "x" in arrays else next(iter(arrays), "")
        if key and (len(arrays) == 1 or key == "x"):
            arrays, keys = {names[0]: arrays[key]}, {names[0]: key}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UsageError(
            f"--data {dataset.origin}: it has the arrays {', '.join(dataset.arrays)}; the model's inputs are "
            f"{', '.join(names)}.",
            hint=f"np.savez('data.npz', {', '.join(f'{name}=…' for name in names)})",
        )
    return [_spec(name, arrays[name].dtype, dataset.inner_shape(keys[name])) for name in names]


def _spec(name: str, dtype: Any, inner: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, (1, *inner), "float32" if dtype.kind == "f" else dtype.name)


def _suggestion(names: Sequence[str], run: Any) -> str:
    """``--input`` options with the shape that the first layer's weights ask for."""
    import torch

    shape, dtype = "1,3,224,224", ""
    for module in run.modules() if isinstance(run, torch.nn.Module) else ():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() < 2:
            continue
        if isinstance(module, torch.nn.Embedding):
            shape, dtype = "1,128", ":int64"
        elif weight.dim() == 2:
            shape = f"1,{weight.shape[1]}"
        else:
            groups = getattr(module, "groups", 1)
            side = {3: "16000", 4: "224,224", 5: "16,112,112"}[weight.dim()]
            shape = f"1,{weight.shape[1] * groups},{side}"
        break
    return " ".join(f"--input {name}={shape}{dtype}" for name in names or ["x"])
