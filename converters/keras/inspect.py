"""What is in a Keras file: its layers where it has some, its weights in any case."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters import user_code
from converters.facts import LayerFacts, ModelFacts
from converters.keras import calling, macs, reading
from converters.keras.files import Saved
from converters.keras.loading import check_backend, compiled_function
from converters.keras.reading import WeightsAloneError
from converters.work import StoredTensor, stored
from edgekit.errors import UsageError
from edgekit.requests import LoadRequest
from edgekit.types import Signature, from_json, to_json

_KINDS = {
    "BatchNormalization": "batch_norm", "Concatenate": "concat", "Dense": "linear", "EinsumDense": "linear",
    "Embedding": "embedding", "GroupNormalization": "group_norm", "LayerNormalization": "layer_norm",
    "MultiHeadAttention": "attention", "GroupedQueryAttention": "attention", "Multiply": "mul", "Subtract": "sub",
    "SimpleRNN": "rnn", "Swish": "silu", "PReLU": "prelu", "LeakyReLU": "leaky_relu", "ReLU": "relu",
    "ThresholdedReLU": "relu", "Normalization": "norm", "UnitNormalization": "norm", "RMSNormalization": "rms_norm",
}  # fmt: skip
"""Where the common word is not the class in lower case."""
_PATTERNS = {
    r"DepthwiseConv\dD": "depthwise_conv",
    r"SeparableConv\dD": "separable_conv",
    r"Conv\dDTranspose": "conv_transpose",
    r"ConvLSTM\dD": "conv_lstm",
    r"Conv\dD": "conv",
    r"(Global|Adaptive)?Max(imum)?Pool(ing)?\dD": "max_pool",
    r"(Global|Adaptive)?Average(Pooling)?\dD": "avg_pool",
}
_MOVES = frozenset(
    "InputLayer Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout "
    "ActivityRegularization Masking Flatten Reshape Permute RepeatVector ZeroPadding1D ZeroPadding2D ZeroPadding3D "
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Concatenate Identity".split()
)
"""Layers that compute nothing in a run; no rule is about them."""


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file; without ``--model``, weights alone are described as such.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.

    Returns:
        :class:`converters.facts.ModelFacts` as JSON.
    """
    asked = from_json(LoadRequest, request)
    check_backend()
    with user_code.user_imports(*user_code.folders_of(asked.model_code, Path(asked.path))):
        try:
            network = reading.read(asked)
        except WeightsAloneError as error:
            return dict(to_json(_of_weights(error.saved, error)))
        program = calling.prepare(network, asked)
        total, note = macs.count(compiled_function(program).graph)
        layers = list(_layers(program.model))
        facts = ModelFacts(
            format="Keras",
            kind=str(network.saved.kind),
            signature=program.signature,
            operators=dict(Counter(type(layer).__name__ for _, layer in layers).most_common()),
            macs=total,
            macs_note=note,
            producer=_producer(network.saved),
            notes=tuple(network.notes),
            layers=tuple(
                LayerFacts(path, _kind(layer), type(layer).__name__)
                for path, layer in layers
                if type(layer).__name__ not in _MOVES
            ),
            **_weights(_stored_by(program.model, layers)),
        )
    return dict(to_json(facts))


def _of_weights(saved: Saved, error: UsageError) -> ModelFacts:
    return ModelFacts(
        format="Keras",
        kind=str(saved.kind),
        signature=Signature((), ()),
        macs_note="the file holds no network",
        producer=_producer(saved),
        notes=(error.message, error.hint),
        **_weights([_stored(name, *held) for name, held in saved.weights.items()]),
    )


def _producer(saved: Saved) -> str:
    return "" if saved.version == "?" else f"Keras {saved.version}"


def _weights(tensors: list[StoredTensor]) -> dict[str, Any]:
    by_dtype: Counter[str] = Counter()
    for item in tensors:
        by_dtype[item.dtype] += item.size_bytes
    return {
        "parameters": sum(math.prod(item.shape) for item in tensors),
        "weights_bytes_by_dtype": dict(by_dtype.most_common()),
        **stored(tensors),
    }


def _stored_by(model: Any, layers: list[tuple[str, Any]]) -> list[StoredTensor]:
    """The weights of a model, with the class of the layer that holds each."""
    owners = {id(item): type(layer).__name__ for _, layer in layers for item in layer.weights}
    return [
        _stored(str(item.path), tuple(item.shape), str(item.dtype), owners.get(id(item), "")) for item in model.weights
    ]


def _stored(name: str, shape: tuple[int, ...], dtype: str, layer: str = "") -> StoredTensor:
    return StoredTensor(name, dtype, shape, math.prod(shape) * _bytes(dtype), layer)


def _bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _layers(model: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The layers of a model and of models within, by their names from the outside in."""
    import keras

    for layer in model.layers:
        path = f"{above}{layer.name}"
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _layers(layer, path + ".")
        else:
            yield path, layer


def _kind(layer: Any) -> str:
    """In the words of :mod:`converters.layers`; that of its function, of a layer that is nothing else."""
    name = type(layer).__name__
    if name == "Activation":
        return str(getattr(layer.activation, "__name__", "activation"))
    if name in ("TimeDistributed", "Bidirectional"):
        return _kind(getattr(layer, "layer", None) or layer.forward_layer)
    for pattern, kind in _PATTERNS.items():
        if re.fullmatch(pattern, name):
            return kind
    return _KINDS.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
