"""A Keras model as a function of flat tensors, with the names that users know."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from converters import opening, shapes
from converters.keras.reading import Network
from edgekit.errors import ConversionError, UnsupportedError, UsageError, first_line
from edgekit.inputs import parse
from edgekit.requests import LoadRequest
from edgekit.types import Signature, TensorSpec

_LABELS = ("labels", "label", "y", "targets")


@dataclass
class Program:
    """What runs.

    Attributes:
        model: ``keras.Model``, with its weights.
        signature: With a size for every axis.
        function: Tensors in the order of the signature's inputs to a list in the order of its outputs.
    """

    model: Any
    signature: Signature
    function: Callable[..., list[Any]]


def prepare(network: Network, request: LoadRequest) -> Program:
    """Settle the shapes of a model, build it where that is to do, and load the weights that wait for it.

    Raises:
        UsageError: A size stays open, or the weights do not fit.
        UnsupportedError: An input is text, sparse or ragged.
        ConversionError: The model fails on these inputs.
    """
    import keras
    import tensorflow as tf

    open_specs, pack = _inputs(network, request)
    for spec in open_specs:
        if spec.dtype == "string":
            raise UnsupportedError(
                f"{request.path}: input {spec.name!r} takes text, and edge runtimes take numbers.",
                hint="Look tokens up before the model, and save the part of it behind that.",
            )
    inputs = shapes.settle(open_specs, request)
    model = network.model

    def call(*tensors: Any) -> Any:
        arguments, named = pack(tensors)
        return model(*arguments, training=False, **named)

    example = [tf.zeros(spec.shape, spec.dtype) for spec in inputs]
    try:
        outputs = call(*example)
    except Exception as error:  # whatever the layers, or user code, raised
        listed = ", ".join(map(str, inputs))
        raise ConversionError(
            f"{request.path}: the model fails on inputs {listed}: {type(error).__name__}: {first_line(error)}",
            hint="Check the shapes and dtypes of --input or --data against what the model was trained with.",
        ) from error
    if network.weights_to_load is not None:
        network.weights_to_load()
    kept = [place for place, value in enumerate(keras.tree.flatten(outputs)) if value is not None]
    values = [keras.tree.flatten(outputs)[place] for place in kept]
    names = [_output_names(model, outputs)[place] for place in kept]
    specs = tuple(
        TensorSpec(name, tuple(value.shape), tf.as_dtype(value.dtype).name)
        for name, value in zip(_distinct(names), values, strict=True)
    )

    def function(*tensors: Any) -> list[Any]:
        flat = keras.tree.flatten(call(*tensors))
        return [flat[place] for place in kept]

    # Keras itself runs layers as they are written; AutoGraph would rewrite their loops and conditions.
    return Program(model, Signature(inputs, specs), tf.autograph.experimental.do_not_convert(function))


Pack = Callable[[Sequence[Any]], tuple[tuple[Any, ...], dict[str, Any]]]
"""Flat tensors to the arguments of the model."""


def _inputs(network: Network, request: LoadRequest) -> tuple[list[TensorSpec], Pack]:
    """The inputs with ``None`` for open axes, and how the model takes them."""
    import keras

    model = network.model
    if (tensors := getattr(model, "inputs", None)) is not None:
        structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
        flat = keras.tree.flatten(structure)
        for tensor in flat:
            if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
                raise UnsupportedError(f"{request.path}: input {tensor.name!r} is sparse or ragged.")
        specs = [
            TensorSpec(name, tuple(tensor.shape), str(tensor.dtype))
            for name, tensor in zip(_distinct(_names(structure, [item.name for item in flat])), flat, strict=True)
        ]
        return specs, lambda values: ((keras.tree.pack_sequence_as(structure, list(values)),), {})
    return _by_shapes(network.build_config, model, request) or _typed(model, request)


def _by_shapes(build: Any, model: Any, request: LoadRequest) -> tuple[list[TensorSpec], Pack] | None:
    """The inputs of a subclassed model, from the shapes that it was built with; all axes but the first as they were."""
    import keras

    given = {spec.name: spec.dtype for spec in map(parse, request.inputs)}
    only = given.get("", "float32") if len(given) == 1 else "float32"
    if isinstance(build.get("shapes_dict"), dict):
        named = {key.removesuffix("_shape"): tuple(shape) for key, shape in build["shapes_dict"].items()}
        specs = [TensorSpec(key, (None, *shape[1:]), given.get(key, "float32")) for key, shape in named.items()]
        return specs, lambda values: ((), dict(zip(named, values, strict=True)))
    shape = build.get("input_shape")
    if not isinstance(shape, (list, tuple, dict)) or not shape:
        return None
    structure = keras.tree.map_shape_structure(lambda item: tuple(item), shape)
    flat = _flat_shapes(structure)
    first = _parameters(model)[0]
    names = _names(structure, [first if len(flat) == 1 else f"{first}_{place}" for place in range(len(flat))])
    specs = [TensorSpec(name, (None, *item[1:]), given.get(name, only)) for name, item in zip(names, flat, strict=True)]
    return specs, lambda values: ((_filled(structure, iter(values)),), {})


def _typed(model: Any, request: LoadRequest) -> tuple[list[TensorSpec], Pack]:
    """The inputs of a model that says nothing of them: those of ``--input``, else of the data."""
    parameters = _parameters(model)
    specs = [
        spec if spec.name else TensorSpec(parameters[0], spec.shape, spec.dtype) for spec in map(parse, request.inputs)
    ]
    dataset = opening.dataset_of(request)
    if not specs and dataset is not None and dataset.pictures is not None:
        shape = dataset.shape_for(TensorSpec(parameters[0], (None,) * 4, "float32"), "nhwc") or ()
        specs = [TensorSpec(parameters[0], (1, *shape[1:]), "float32")]
    elif not specs and dataset is not None:
        arrays = {name: array for name, array in dataset.arrays.items() if name not in _LABELS}
        specs = [
            TensorSpec(
                parameters[0] if len(arrays) == 1 else name,
                (1, *dataset.inner_shape(name)),
                "float32" if array.dtype.kind == "f" else str(array.dtype),
            )
            for name, array in arrays.items()
        ]
    if not specs:
        raise UsageError(
            f"{request.path}: the model does not say what its input looks like.",
            hint=f"--input {parameters[0]}=1,224,224,3   (with your sizes), or --data FILE with samples",
        )
    names = [spec.name for spec in specs]
    if set(names) <= set(parameters):
        return specs, lambda values: ((), dict(zip(names, values, strict=True)))
    if len(names) == 1:
        return specs, lambda values: ((values[0],), {})
    return specs, lambda values: ((dict(zip(names, values, strict=True)),), {})


def _parameters(model: Any) -> list[str]:
    """Of ``call``, without those that Keras fills in."""
    found = [
        item.name
        for item in inspect.signature(model.call).parameters.values()
        if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD) and item.name not in ("training", "mask")
    ]
    return found or ["x"]


def _flat_shapes(structure: Any) -> list[tuple[Any, ...]]:
    """The shapes of a structure, in the order in which Keras flattens it."""
    if isinstance(structure, dict):
        return [shape for key in sorted(structure) for shape in _flat_shapes(structure[key])]
    if isinstance(structure, tuple) and all(size is None or isinstance(size, int) for size in structure):
        return [structure]
    return [shape for item in structure for shape in _flat_shapes(item)]


def _filled(structure: Any, values: Any) -> Any:
    """The same structure with tensors in place of shapes."""
    if isinstance(structure, dict):
        return {key: _filled(structure[key], values) for key in sorted(structure)}
    if isinstance(structure, tuple) and all(size is None or isinstance(size, int) for size in structure):
        return next(values)
    return [_filled(item, values) for item in structure]


def _names(structure: Any, otherwise: Sequence[str]) -> list[str]:
    """Names of the leaves: the keys of a dictionary, else those given."""
    if isinstance(structure, dict) and len(structure) == len(otherwise):
        return sorted(structure)
    return list(otherwise)


def _output_names(model: Any, outputs: Any) -> list[str]:
    import keras

    count = len(keras.tree.flatten(outputs))
    names = getattr(model, "output_names", None)
    if names is None and getattr(model, "outputs", None) is not None and isinstance(model, keras.Sequential):
        names = [model.layers[-1].name] if count == 1 else None
    if names is None or len(names) != count:
        names = ["output"] if count == 1 else [f"output_{place}" for place in range(count)]
    return _names(outputs, names)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names made different by a number, as the outputs of a layer that returns several."""
    found: list[str] = []
    for name in names:
        wanted, number = name, 0
        while wanted in found or (number and wanted in names):
            number += 1
            wanted = f"{name}_{number}"
        found.append(wanted)
    return found
