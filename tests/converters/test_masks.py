"""Attention masks: what is computed at export in place of at every run, and what their numbers do to ranges."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from converters.calibration import methods
from converters.calibration.ranges import Collector
from converters.calibration.statistics import MASKED

torch = pytest.importorskip("torch", reason="needs the extra torch")

from converters.torch_export import program as programs  # noqa: E402

LEAST = torch.finfo(torch.float32).min


def flat(module: Any, *args: Any) -> Any:
    exported = torch.export.export(module.eval(), args, strict=False)
    return programs.flatten(exported, programs.leaves(module(*args))).module


def operators(module: Any) -> Counter[str]:
    return Counter(str(node.target).split(".")[1] for node in module.graph.nodes if node.op == "call_function")


class Attention(torch.nn.Module):  # type: ignore[misc]
    """Scores masked as transformers does it: positions compared, gathered and combined."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, scores: Any, mask: Any) -> Any:
        length = scores.shape[-1]
        rows = torch.arange(scores.shape[0])[:, None, None]
        queries, keys = torch.arange(length)[None, :, None], torch.arange(length)[None, None, :]
        allowed = keys <= queries if self.causal else queries >= 0
        allowed = allowed & mask.to(torch.bool)[rows, keys]
        return torch.softmax(scores + torch.where(allowed, torch.zeros(()), LEAST), -1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_what_no_input_reaches_is_folded(causal: bool, batch: int) -> None:
    module, scores = Attention(causal), torch.randn(batch, 7, 7)
    mask = (torch.arange(7) < torch.randint(2, 8, (batch, 1))).long()
    made = flat(module, scores, mask)
    assert not {"arange", "unsqueeze", "ge", "le", "index", "zeros"} & set(operators(made))
    assert operators(made)["where"] == 1
    assert any("__and__" in str(node.target) for node in made.graph.nodes) == causal
    torch.testing.assert_close(made(scores, mask)[0], module(scores, mask))
    other = torch.ones_like(mask)
    torch.testing.assert_close(made(scores, other)[0], module(scores, other))


class Gathers(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x[torch.arange(2)[:, None], torch.tensor([[2, 1, 0]])]


def test_a_gather_in_another_order_stays_one() -> None:
    x = torch.randn(2, 3)
    made = flat(Gathers(), x)
    assert operators(made)["index"] == 1
    torch.testing.assert_close(made(x)[0], x.flip(1))


class Written(torch.nn.Module):  # type: ignore[misc]
    """A fresh tensor that is written to: folded, it would remember the last run."""

    def forward(self, x: Any) -> Any:
        sums = torch.zeros(3)
        view = sums[1:]
        view.add_(x)
        return sums + 1


def test_what_is_written_to_is_not_folded() -> None:
    made = flat(Written(), torch.ones(2))
    for _ in range(2):
        torch.testing.assert_close(made(torch.ones(2))[0], torch.tensor([1.0, 2.0, 2.0]))


class Chosen(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return torch.where(x > 0, x, 0.5) + torch.where(x > 0, 1.5, x)


def test_numbers_of_where_become_tensors() -> None:
    x = torch.randn(8)
    made = flat(Chosen(), x)
    assert {
        str(node.target) for node in made.graph.nodes if node.op == "call_function" and "where" in str(node.target)
    } == {"aten.where.self"}
    torch.testing.assert_close(made(x)[0], Chosen()(x))


# Ranges


def rounded(values: Any, given: tuple[float, float]) -> Any:
    """As 8 bits hold it."""
    low, high = given
    step = (high - low) / 255
    zero = round(-low / step)
    with np.errstate(over="ignore"):
        return (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step


def softmax(values: Any) -> Any:
    with np.errstate(over="ignore"):
        powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy", "auto"])
@pytest.mark.parametrize("least", [LEAST, -1e9, -np.inf])
def test_masked_scores_keep_their_steps(least: float, method: str) -> None:
    rng, collector = np.random.default_rng(0), Collector()
    masks, sums = [], []
    for _ in range(16):
        scores = rng.normal(0, 2, (4, 32, 32)).astype(np.float32)
        mask = np.where(np.arange(32) < rng.integers(4, 33), np.float32(0), np.float32(least))[None, None]
        collector.add("mask", mask)
        collector.add("sum", scores + mask)
        masks.append((scores, mask))
        sums.append(scores + mask)
    chosen = collector.finish("form", 16, "here", methods.DEFAULT_PERCENTILE).chosen(method)
    assert chosen["sum"][0] > -40
    assert chosen["sum"][1] < 12
    for (scores, mask), whole in zip(masks, sums, strict=True):
        added = rounded(rounded(scores, (-12, 12)) + rounded(mask, chosen["mask"]), chosen["sum"])
        found = softmax(added)
        assert found[np.broadcast_to(np.isneginf(whole) | (whole <= MASKED), found.shape)].max(initial=0) < 1e-4
        assert np.abs(found - softmax(whole)).max() < 0.05


def test_the_room_is_for_masks_alone() -> None:
    collector = Collector()
    collector.add("large", np.array([-1e6, 3.0], np.float32))
    collector.add("bare", np.array([0.0, LEAST], np.float32))
    collector.add("beside", np.array([-2.0, 3.0, LEAST], np.float32))
    found = collector.finish("form", 1, "here", methods.DEFAULT_PERCENTILE)
    assert found.tensors["large"].methods["minmax"] == (-1e6, 3.0)
    assert found.tensors["bare"].methods["minmax"] == (-methods.BARE_MASK_ROOM, 0.0)
    assert found.tensors["beside"].methods["minmax"] == (-2.0 - methods.MASK_ROOM, 3.0)
    assert (found.tensors["beside"].count, found.tensors["beside"].not_finite) == (2, 0)
