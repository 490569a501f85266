from __future__ import annotations

import pytest

from edgekit.affinity import resolve
from edgekit.device_types import Cluster
from edgekit.errors import UsageError
from edgekit.types import DeviceFacts


def device(*clusters: Cluster) -> DeviceFacts:
    return DeviceFacts("board", "Linux 6.1", "aarch64", "", 8, 0, "3.11", 0.0, clusters=clusters)


PHONE = device(
    Cluster((0, 1, 2, 3), "Cortex-A55", 1_800_000, 160),
    Cluster((4, 5, 6), "Cortex-A76", 2_400_000, 871),
    Cluster((7,), "Cortex-A76", 2_800_000, 1024),
)
ALIKE = device()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("little", (0, 1, 2, 3)),
        ("BIG", (7,)),
        ("all", ()),
        ("", ()),
        ("0", (0,)),
        ("2, 0,2", (0, 2)),
        ((1, 3), (1, 3)),
        ((), ()),
    ],
)
def test_cpus(typed: str | tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert resolve(typed, PHONE) == expected


@pytest.mark.parametrize("word", ["big", "little"])
@pytest.mark.parametrize("facts", [ALIKE, device(Cluster((0, 1), "Cortex-A72"))])
def test_cpus_that_are_all_alike(word: str, facts: DeviceFacts) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(word, facts)
    assert f"--affinity {word}: the CPUs of board are all of one kind" in caught.value.message
    assert "--affinity 0" in caught.value.hint


def test_those_of_one_kind_have_numbers_all_the_same() -> None:
    assert resolve("0,1", ALIKE) == (0, 1)
    assert resolve("all", ALIKE) == ()


@pytest.mark.parametrize("typed", ["0-3", "biggest", "0,,1", "-1", "1.5", "²", "0;reboot"])
def test_what_names_no_cpus(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(typed, PHONE)
    assert repr(typed) in caught.value.message
    assert "big, little or all" in caught.value.hint
