"""A Hugging Face folder from its files to a program and reference outputs, in one child.

As in :mod:`converters.pytorch.loading`, all of edgekit's that is needed is imported at the top.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converters import user_code
from converters.huggingface import network as networks
from converters.huggingface import samples, sizes
from converters.huggingface.network import Built
from converters.pytorch import loading
from converters.pytorch.reading import Network
from edgekit.data import SEED
from edgekit.errors import ConversionError
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.huggingface.load`."""
    with opened(request) as (built, exported):
        inputs = Signature(built.specs, ())
        made = None if request.data is not None else samples.maker(built, inputs, request.trust)
        return loading.finish(request, network_of(built, exported), exported, list(built.inputs), made)


@contextmanager
def opened(request: LoadRequest) -> Iterator[tuple[Built, Any]]:
    """The model and its exported program; the context is the one to run them in."""
    import torch

    torch.manual_seed(SEED)
    path = Path(request.path)
    folders = user_code.folders_of(None, path)
    with user_code.user_imports(*folders), networks.offline(request.into), torch.no_grad():
        built = networks.build(request)
        built.specs = sizes.specs(built, request)
        example = tuple(loading.example_tensor(spec) for spec in built.specs)
        network = network_of(built, None)
        network.args = example
        loading.run_network(network, (example, {}), path)
        exported = loading.export_module(network, path)
        _refuse_made_up(built, exported)
        yield built, exported


def network_of(built: Built, exported: Any) -> Network:
    """As :mod:`converters.pytorch` has models."""
    return Network(built.folder.kind, built.model, exported=exported, notes=built.notes)


def _refuse_made_up(built: Built, exported: Any) -> None:
    """Weights that were not in the files are random; a pooler that no output needs may well be missing.

    Raises:
        ConversionError: An output depends on some of them.
    """
    stored = {**exported.graph_signature.inputs_to_parameters, **exported.graph_signature.inputs_to_buffers}
    todo = [node for node in exported.graph.nodes if node.op == "output"]
    needed = set(todo)
    while todo:
        before = set(todo.pop().all_input_nodes) - needed
        needed |= before
        todo += before
    used = {stored[node.name] for node in needed if node.name in stored}
    lacking = [name for name in built.missing if any(name == item or name.endswith(f".{item}") for item in used)]
    if lacking:
        raise ConversionError(
            f"{built.folder.path}: the weights do not belong to {type(built.model).__name__} as config.json has it: "
            f"{networks.listed('missing from the files', lacking)}.",
            hint="Are config.json and the weights of the same model?",
        )
