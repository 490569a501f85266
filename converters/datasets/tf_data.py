"""Folders that ``tf.data.Dataset.save`` wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.datasets._collect import collect, named_arrays
from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError, first_line
from edgekit.plugins import DataFormat

_SPEC = "dataset_spec.pb"


def identify(path: str) -> bool:
    """Whether the description of the elements lies there."""
    return (Path(path) / _SPEC).is_file()


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Read its elements: ``x``, ``(x, y)`` or dictionaries, in batches or not.

    The description is a protocol buffer of shapes and types, and nothing in the folder is unpickled; types that can
    hold more than numbers (variants, strings, nested data sets) are refused before an element is read.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    spec = _spec(path)
    for leaf in tf.nest.flatten(spec):
        numbers = isinstance(leaf, tf.TensorSpec) and (leaf.dtype.is_floating or leaf.dtype.is_integer)
        if not numbers and not (isinstance(leaf, tf.TensorSpec) and leaf.dtype == tf.bool):
            raise DataError(
                f"--data {path}: its elements are {spec}, and edgekit reads plain tensors of numbers.",
                hint="Map it to those before saving: dataset.map(lambda …: (x, y)).save('folder')",
            )
    try:
        return _elements(tf, path, into, advance, None)
    except tf.errors.DataLossError:
        pass  # saved with compression, or damaged: both look alike
    except tf.errors.OpError as error:
        raise _damaged(path, error) from error
    try:
        return _elements(tf, path, into, advance, "GZIP")
    except tf.errors.OpError as error:
        raise _damaged(path, error) from error


def _spec(path: str) -> Any:
    from tensorflow.core.protobuf import struct_pb2
    from tensorflow.python.saved_model import nested_structure_coder

    content = struct_pb2.StructuredValue()
    try:
        content.ParseFromString((Path(path) / _SPEC).read_bytes())
        return nested_structure_coder.decode_proto(content)
    except Exception as error:  # the parser's own, and what unknown types lead to
        raise _damaged(path, error) from error


def _damaged(path: str, error: BaseException) -> DataError:
    return DataError(
        f"--data {path}: not a readable folder of tf.data.Dataset.save: {first_line(error)}.",
        hint="Save it again with this version of TensorFlow.",
    )


def _elements(tf: Any, path: str, into: Path, advance: Callable[[int, int], None], compression: str | None) -> Dataset:
    dataset = tf.data.Dataset.load(path, compression=compression)
    count = int(dataset.cardinality())
    folder = into / (compression or "plain")
    folder.mkdir()
    return collect(
        dataset.as_numpy_iterator(), named_arrays, f"--data {path}", folder, advance, count if count > 0 else None
    )


DATA = DataFormat(
    name="tf_data",
    title="folders of tf.data.Dataset.save",
    identify=identify,
    read="converters.datasets.tf_data:read",
    child=True,
    preload=("tensorflow",),
    packages=("tensorflow",),
    extra="tensorflow",
)
