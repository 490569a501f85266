"""``--dynamic``: which axes stay open, and the samples in other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import dynamic
from edgekit import feeds
from edgekit.errors import UnsupportedError, UsageError
from edgekit.feeds import Feeds
from edgekit.requests import LoadRequest
from edgekit.types import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("ids", (1, 12), "int64"), TensorSpec("scale", (1, 2), "float32")),
    (TensorSpec("hidden", (1, 12, 2), "float32"), TensorSpec("pooled", (1, 2), "float32")),
)


def request(tmp_path: Path, *words: str) -> LoadRequest:
    return LoadRequest("model.pt2", dynamic=words, into=str(tmp_path))


def chosen(count: int = 8) -> Feeds:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (count, 1, 12))
    return Feeds({"ids": ids, "scale": rng.random((count, 1, 2)).astype(np.float32)}, origin="8 samples")


def run(sample: dict[str, Any]) -> dict[str, Any]:
    hidden = sample["ids"][..., None] * sample["scale"][:, None]
    return {"hidden": hidden.astype(np.float32), "pooled": hidden.mean(1).astype(np.float32)}


def test_a_batch_opens_the_first_axis_of_everything(tmp_path: Path) -> None:
    found = dynamic.write_sizes(request(tmp_path, "batch"), SIGNATURE, chosen(), run)
    assert [spec.shape for spec in found.inputs] == [(None, 12), (None, 2)]
    assert [spec.shape for spec in found.outputs] == [(None, 12, 2), (None, 2)]
    for folder, batch in ((tmp_path / "sizes/0", 2), (tmp_path / "sizes/1", 5)):
        given, outputs = feeds.read(folder / "feeds"), feeds.read(folder / "reference")
        assert given.arrays["ids"].shape[1:] == (batch, 12)
        assert given.count == outputs.count > 0
        assert np.array_equal(outputs.arrays["pooled"][0], run({k: v[0] for k, v in given.arrays.items()})["pooled"])


def test_an_axis_opens_the_outputs_that_follow_it(tmp_path: Path) -> None:
    found = dynamic.write_sizes(request(tmp_path, "ids.1"), SIGNATURE, chosen(), run)
    assert [spec.shape for spec in found.inputs] == [(1, None), (1, 2)]
    assert [spec.shape for spec in found.outputs] == [(1, None, 2), (1, 2)]
    sizes = [feeds.read(tmp_path / f"sizes/{number}/feeds").arrays["ids"].shape[2] for number in range(2)]
    assert sizes == [6, 3]


def test_batches_are_made_of_real_samples(tmp_path: Path) -> None:
    samples = chosen()
    dynamic.write_sizes(request(tmp_path, "batch"), SIGNATURE, samples, run)
    first = feeds.read(tmp_path / "sizes/0/feeds").arrays["ids"][0]
    assert np.array_equal(first, samples.arrays["ids"][:2, 0])


def test_nothing_asked_for_changes_nothing(tmp_path: Path) -> None:
    assert dynamic.write_sizes(request(tmp_path), SIGNATURE, chosen(), run) is SIGNATURE
    assert not (tmp_path / "sizes").exists()


@pytest.mark.parametrize("word", ["ids", "ids.2", "words.1", "Batch", "ids.x"])
def test_words_that_mean_nothing(word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such axis") as caught:
        dynamic.write_sizes(request(tmp_path, word), SIGNATURE, chosen(), run)
    assert "--dynamic batch" in caught.value.hint


def test_a_source_that_takes_one_size_alone(tmp_path: Path) -> None:
    def stubborn(sample: dict[str, Any]) -> dict[str, Any]:
        return run({"ids": sample["ids"].reshape(1, 12), "scale": sample["scale"].reshape(1, 2)})

    with pytest.raises(UnsupportedError, match="the source itself fails with ids"):
        dynamic.write_sizes(request(tmp_path, "batch"), SIGNATURE, chosen(), stubborn)
