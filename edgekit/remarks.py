"""What a reader of measured figures should know: the sentences under a report."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit import feeds, registry
from edgekit.conditions import Conditions
from edgekit.data import RANDOM_SAMPLES, SEED
from edgekit.samples import Samples
from edgekit.subjects import Subject
from edgekit.types import DeviceFacts

NOTES = (
    "Latency: feeding the inputs, inference and fetching the outputs, called from Python; files take turns.",
    "Load and first run: of one fresh process, the file in the page cache, the runtime's import left out.",
    "Memory: peak resident size up to the first runs, over a process that has imported the runtime alone; libraries "
    "left out.",
)
"""What the figures mean, in every report."""


def notes(subjects: Sequence[Subject], samples: Samples) -> tuple[str, ...]:
    """What the figures mean, and what they were measured on.

    Args:
        subjects: The files.
        samples: That they ran on.
    """
    found = [*NOTES, *samples.notes]
    if samples.dataset is None:
        found.append(
            f"Inputs: {RANDOM_SAMPLES} random samples, seed {SEED}; --data FILE measures on yours."
            + (" Drift on random inputs says little about accuracy." if samples.reference else "")
        )
    else:
        origins = dict.fromkeys(feeds.read(one.feeds).origin for one in subjects if one.feeds is not None)
        found += [f"Inputs: {origin}." for origin in origins]
    if samples.reference is not None:
        constant = registry.function("profiles.metrics.drift:constant_outputs")
        found += [
            f"Output {name} of the reference is the same for all samples: drift on it proves nothing."
            for name in constant(feeds.read(samples.reference))
        ]
    return tuple(found)


EMULATED = "This CPU is emulated: its times mean nothing, and there is no verdict on them."


def busy(facts: DeviceFacts) -> list[str]:
    """What speaks against figures of a device from the start, a sentence each."""
    found = [EMULATED] if facts.emulated else []
    if facts.load_average > facts.cores:
        load = f"load average {facts.load_average:.1f}, {facts.cores} cores"
        found.append(f"The machine was busy when this began: {load}.")
    return found


def weather(subjects: Sequence[Subject], before: Conditions | None, after: Conditions | None) -> list[str]:
    """What happened to the machine while files were timed, a sentence each."""
    found = []
    if before is not None and after is not None:
        changes = registry.function("profiles.conditions:changes")(before, after)
        found += [f"While files were timed, {change}." for change in changes]
    timed = [turn for one in subjects if one.error is None for turn in one.raw["turns"]]
    rounds = {turn["round"]: turn["sentinel_ns"] for turn in timed}
    slow = registry.function("profiles.turns:throttled")(list(rounds.values()))
    if slow:
        found.append(f"The processor itself was over 10 % slower than at its best in {slow:.0%} of the rounds.")
    return found
