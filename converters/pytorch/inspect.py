"""What is in a PyTorch file: its program where it has one, its weights in any case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import user_code
from converters.facts import ModelFacts, layer_facts
from converters.pytorch.loading import open_exported
from converters.pytorch.reading import Network, WeightsAloneError
from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.layers import layers_of
from converters.work import StoredTensor, stored
from edgekit.errors import UsageError
from edgekit.requests import LoadRequest
from edgekit.types import Signature, from_json, to_json


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file; without ``--model``, weights alone are described as such.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.

    Returns:
        :class:`converters.facts.ModelFacts` as JSON.
    """
    import torch

    asked = from_json(LoadRequest, request)
    with user_code.user_imports(*user_code.folders_of(asked.model_code, Path(asked.path))), torch.no_grad():
        try:
            network, exported, names = open_exported(asked)
        except WeightsAloneError as error:
            return dict(to_json(_of_weights(error.state, error)))
        facts = facts_of(network, exported, names, "PyTorch")
    return dict(to_json(facts))


def facts_of(
    network: Network,
    exported: Any,
    names: list[str] | None,
    format: str,  # noqa: A002 - as in ModelFacts
    metadata: Mapping[str, str] | None = None,
) -> ModelFacts:
    """The facts of a network that was exported; call where it may run."""
    run = exported.module(check_guards=False)
    outputs = programs.leaves(run(*exported.example_inputs[0], **exported.example_inputs[1]))
    macs = _macs(run, exported.example_inputs)
    flat = programs.flatten(exported, outputs, names)
    calls = [node for node in exported.graph.nodes if node.op == "call_function" and operators.is_aten(node)]
    return ModelFacts(
        format=format,
        kind=str(network.kind),
        signature=flat.signature,
        operators=dict(Counter(str(node.target) for node in calls).most_common()),
        macs=macs,
        macs_note="convolutions, matrix products and attention, as torch counts their operations",
        metadata=dict(metadata or {}),
        notes=tuple(network.notes),
        layers=layer_facts(layers_of(flat.module)),
        **_weights({**exported.state_dict, **exported.constants}, _readers(exported)),
    )


def _of_weights(state: Mapping[str, Any], error: UsageError) -> ModelFacts:
    return ModelFacts(
        format="PyTorch",
        kind="weights alone",
        signature=Signature((), ()),
        macs_note="the file holds no network",
        notes=(error.message, error.hint),
        **_weights(state),
    )


def _weights(tensors: Mapping[str, Any], readers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Elements and bytes of all tensors, those that share memory once.

    Args:
        tensors: By name.
        readers: Type of the first operator that reads each, by name.
    """
    import torch

    distinct: dict[Any, tuple[str, Any]] = {}
    for name, item in tensors.items():
        if isinstance(item, torch.Tensor):
            distinct.setdefault((item.untyped_storage().data_ptr(), tuple(item.shape)), (name, item))
    rows = [
        StoredTensor(
            name=name,
            dtype=str(item.dtype).removeprefix("torch."),
            shape=tuple(item.shape),
            size_bytes=item.numel() * item.element_size(),
            operator=(readers or {}).get(name, ""),
        )
        for name, item in distinct.values()
    ]
    by_dtype: Counter[str] = Counter()
    for row in rows:
        by_dtype[row.dtype] += row.size_bytes
    return {
        "parameters": sum(item.numel() for _, item in distinct.values()),
        "weights_bytes_by_dtype": dict(by_dtype.most_common()),
        **stored(rows),
    }


def _readers(exported: Any) -> dict[str, str]:
    """Type of the first operator that reads each parameter, buffer and constant of a program, by name."""
    known = exported.graph_signature
    names = {**known.inputs_to_parameters, **known.inputs_to_buffers, **known.inputs_to_lifted_tensor_constants}
    found: dict[str, str] = {}
    for node in exported.graph.nodes:
        users = [user for user in node.users if user.op == "call_function"]
        if node.op == "placeholder" and node.name in names and users:
            found.setdefault(names[node.name], str(users[0].target))
    return found


def _macs(run: Any, example: Any) -> int:
    """Multiply-accumulates of one run: torch counts two operations for each."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(*example[0], **example[1])
    return int(counter.get_total_flops()) // 2
