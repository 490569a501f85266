"""Small Keras files, and the job that reads them, in this process."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"

from converters.saved_model import form
from edgekit import feeds
from edgekit.data import Dataset
from edgekit.requests import LoadRequest
from edgekit.types import Signature, from_json, to_json


def load(path: Path, into: Path, data: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Run the job; the answer, and what it wrote, read again."""
    from converters.sources.keras import SOURCE
    from edgekit import registry

    into.mkdir(exist_ok=True)
    if data is not None:
        options["data"] = str(Dataset("data.npz", data).save(into / "data"))
    request = LoadRequest(path=str(path), into=str(into), **options)
    loaded: dict[str, Any] = registry.function(SOURCE.load)(to_json(request))
    loaded["signature"] = from_json(Signature, loaded["signature"])
    loaded["feeds"] = feeds.read(into / "feeds").arrays
    loaded["reference"] = feeds.read(into / "reference").arrays
    return loaded


def inspect(path: Path, **options: Any) -> dict[str, Any]:
    from converters.sources.keras import SOURCE
    from edgekit import registry

    facts: dict[str, Any] = registry.function(SOURCE.inspect)(to_json(LoadRequest(path=str(path), **options)))
    return facts


def program_outputs(loaded: dict[str, Any]) -> dict[str, Any]:
    """What the written SavedModel says to the samples, as ``reference``."""
    import tensorflow as tf

    program = tf.saved_model.load(loaded["program"]).signatures[form.SERVING]
    specs = loaded["signature"]
    rows: dict[str, list[Any]] = {spec.name: [] for spec in specs.outputs}
    count = len(next(iter(loaded["feeds"].values())))
    for sample in range(count):
        tensors = {
            form.input_name(place): tf.constant(loaded["feeds"][spec.name][sample])
            for place, spec in enumerate(specs.inputs)
        }
        outputs = program(**tensors)
        for place, spec in enumerate(specs.outputs):
            rows[spec.name].append(outputs[form.output_name(place)].numpy())
    return {name: np.stack(values) for name, values in rows.items()}


def names(loaded: dict[str, Any]) -> tuple[list[str], list[str]]:
    signature = loaded["signature"]
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]


def edit(path: Path, change: Callable[[dict[str, Any]], Any], version: str = "") -> Path:
    """Change the configuration within a file, in place; ``version`` in place of Keras's own."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(members["config.json"])
        config = change(config) or config
        members["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config = change(config) or config
        del file.attrs["model_config"]
        file.attrs["model_config"] = json.dumps(config)
        if version:
            del file.attrs["keras_version"]
            file.attrs["keras_version"] = version
    return path


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of one layer."""
    (found,) = (item for item in config["config"]["layers"] if item["config"].get("name") == name)
    inner: dict[str, Any] = found["config"]
    return inner
