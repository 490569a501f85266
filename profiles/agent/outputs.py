"""Runs a file on any number of samples and writes its outputs, one sample per row.

Samples are read and outputs written a block at a time, so that memory does not grow with their number, and little is
done for each sample beside its run.

Where the first axis of all inputs and outputs is open, and samples have a size of 1 there, that axis may be a batch,
and a block can be one run. Whether it is one, only a run can tell: it may be time, or a file may choose its scales anew
for each run from all that it is given. So the first block is run both ways. Where results differ by more than rounding,
or the runtime refuses, samples are run one by one, and a note says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.agent import binding

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds
    from profiles.runtimes import Model, Tensor

_BATCH_SAMPLES = 8
"""By then a small network is several times as fast; in larger batches a convolutional one becomes slower, for its inner
tensors no longer fit into the processor's cache."""

_BLOCK_SAMPLES = 1024
_BLOCK_BYTES = 1_000_000
"""Of inputs and outputs together, that are in memory at a time: little enough to stay in that cache until they run."""

_LEAST_BLOCKS = 2
"""Fewer are not worth the check."""

_ROUNDING = 1e-4
"""Share of an output's largest value by which results may differ: kernels add up in another order in a batch."""

_SAY_EVERY_S = 0.2


def write(model: Model, samples: Feeds, into: Path, advance: Callable[[int], None]) -> list[str]:
    """Run all samples.

    Args:
        model: Loaded.
        samples: For its inputs.
        into: Becomes a feeds folder of all outputs under the file's own names, with the places of the samples.
        advance: Told how many samples are done, a few times a second.

    Returns:
        What a reader should know of how they were run, a sentence each.

    Raises:
        ValueError: Samples do not fit the inputs, or outputs change their shape from sample to sample.
        TypeError: An output holds no numbers.
    """
    if not samples.count:
        return []
    work = _Work(model, samples, into, advance)
    done, why = work.in_batches() if work.may_batch() else (0, "")
    while done < samples.count:
        stop = min(samples.count, done + work.block)
        work.singly(done, stop)
        done = stop
    advance(samples.count)
    return [f"Samples were run one by one: {why}."] if why else []


class _Work:
    """The samples of one request, and where their outputs go."""

    def __init__(self, model: Model, samples: Feeds, into: Path, advance: Callable[[int], None]) -> None:
        import numpy as np

        self.model, self.samples, self.advance = model, samples, advance
        self.said = time.monotonic()
        self.pairs = binding.match([item["name"] for item in model.inputs], list(samples.arrays))
        self.tensors = {item["name"]: item for item in model.outputs}
        first = model.run(_one(self._feeds(0, 1), 0))
        self.raw = {name: np.array(value) for name, value in first.items()}
        self.arrays = _create(into, {name: self._floats(name, value) for name, value in self.raw.items()}, samples)
        size = sum(array[0].nbytes for array in (*samples.arrays.values(), *self.arrays.values()))
        self.block = max(1, min(_BLOCK_SAMPLES, _BLOCK_BYTES // max(1, size)))
        self.batch = min(self.block, _BATCH_SAMPLES)

    def may_batch(self) -> bool:
        """Whether the first axis can be a batch, as far as shapes tell, and there is enough for one."""
        if self.batch < 2 or self.samples.count <= _LEAST_BLOCKS * self.batch:
            return False
        tensors: list[Tensor] = [*self.model.inputs, *self.model.outputs]
        is_open = all(item["shape"] and item["shape"][0] is None for item in tensors)
        given = [self.samples.arrays[name] for name in self.pairs.values()]
        return is_open and all(array.shape[1:2] == (1,) for array in (*given, *self.arrays.values()))

    def in_batches(self) -> tuple[int, str]:
        """Run block after block in one go; how many samples are done, and why not all of them."""
        self.singly(0, self.batch)
        done, why = self.batch, self._together(0, self.batch, check=True)
        while not why and done < self.samples.count:
            stop = min(self.samples.count, done + self.batch)
            why = self._together(done, stop)
            done = done if why else stop
            self._say(done)
        return done, why

    def singly(self, start: int, stop: int) -> None:
        """Run samples one by one."""
        import numpy as np

        feeds = self._feeds(start, stop)
        rows = {name: np.empty((stop - start, *value.shape), value.dtype) for name, value in self.raw.items()}
        for place in range(stop - start):
            # The first was run already, to know the outputs; a file that keeps a state must not see it twice.
            outputs = self.model.run(_one(feeds, place)) if start + place else self.raw
            for name, into in rows.items():
                value = np.asarray(outputs[name])
                if value.shape != into.shape[1:]:
                    raise ValueError(
                        f"output {name!r} has shape {list(value.shape)} for sample {start + place} "
                        f"and {list(into.shape[1:])} for the ones before"
                    )
                into[place, ...] = value
            self._say(start + place + 1)
        for name, values in rows.items():
            self.arrays[name][start:stop] = self._floats(name, values)

    def _together(self, start: int, stop: int, check: bool = False) -> str:
        """Run samples in one go; why that is no good, or nothing. To check is to compare with what is written."""
        import numpy as np

        count = stop - start
        feeds = self._feeds(start, stop)
        try:
            found = self.model.run({name: array.reshape(count, *array.shape[2:]) for name, array in feeds.items()})
        except Exception as error:  # each runtime has types of its own, and the samples are run in the other way
            said = str(error).strip().splitlines()
            return f"a batch of {count} fails ({type(error).__name__}{': ' + said[0] if said else ''})"
        values = {name: np.asarray(found[name]) for name in self.raw}
        for name, value in values.items():
            if value.shape != (count, *self.raw[name].shape[1:]):
                return f"a batch of {count} gives output {name!r} the shape {list(value.shape)}"
        for name, value in values.items():
            rows = self._floats(name, value).reshape(count, *self.arrays[name].shape[1:])
            if not check:
                self.arrays[name][start:stop] = rows
            elif not _equal(self.arrays[name][start:stop], rows):
                return f"in a batch of {count} output {name!r} has other values"
        return ""

    def _feeds(self, start: int, stop: int) -> dict[str, Array]:
        """Some samples in memory, by the file's own names, as the inputs take them."""
        import numpy as np

        feeds = {}
        for item in self.model.inputs:
            given = self.pairs[item["name"]]
            block = np.array(self.samples.arrays[given][start:stop], order="C")
            try:
                feeds[item["name"]] = binding.fit(_with_samples(item), given, block)
            except ValueError:
                # Said of one sample, for so the user knows them.
                fitting = [binding.fit(item, given, block[place, ...]) for place in range(len(block))]
                feeds[item["name"]] = np.stack(fitting)
        return feeds

    def _floats(self, name: str, values: Array) -> Array:
        floats: Array = binding.dequantized(self.tensors[name], values)
        return floats

    def _say(self, done: int) -> None:
        now = time.monotonic()
        if now - self.said >= _SAY_EVERY_S:
            self.said = now
            self.advance(done)


def _with_samples(tensor: Tensor) -> Tensor:
    """The tensor with one more axis in front."""
    whole: Any = {**tensor, "shape": [None, *tensor["shape"]]}
    tensor = whole
    return tensor


def _one(feeds: Mapping[str, Array], place: int) -> dict[str, Array]:
    return {name: array[place, ...] for name, array in feeds.items()}


def _create(into: Path, first: Mapping[str, Array], samples: Feeds) -> dict[str, Array]:
    """The folder, for outputs like those of the first sample."""
    import numpy as np

    from edgekit.feeds import create

    for name, value in first.items():
        if value.dtype.kind not in "biuf":
            raise TypeError(f"output {name!r} is no tensor of numbers but {value.dtype}")
    arrays = create(into, {name: (value.shape, value.dtype) for name, value in first.items()}, samples.count)
    if samples.places is not None:
        np.save(into / "places.npy", samples.places, allow_pickle=False)
    return arrays


def _equal(alone: Array, together: Array) -> bool:
    """Whether two blocks of results differ by no more than rounding; numbers that are no floats by nothing."""
    import numpy as np

    if alone.dtype.kind != "f":
        return bool((alone == together).all())
    largest = np.abs(alone).max(initial=0.0, where=np.isfinite(alone))
    return bool(np.allclose(together, alone, rtol=0.0, atol=_ROUNDING * float(largest), equal_nan=True))
