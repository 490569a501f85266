"""Figures of one pair of tensors, block after block."""

from __future__ import annotations

import math

import numpy as np
import pytest

from profiles.layers.figures import Running


def added(reference: np.ndarray, found: np.ndarray, limits: tuple[float, float] | None = None) -> Running:
    """All samples, one at a time."""
    running = Running(limits)
    for one, other in zip(reference, found, strict=True):
        running.add(one, other)
    return running


@pytest.fixture
def reference() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(32, 3, 50))


def test_sqnr_over_all_samples(reference: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=reference.shape) * 0.01
    running = added(reference, reference + noise)
    assert running.sqnr_db == pytest.approx(10 * math.log10((reference**2).sum() / (noise**2).sum()))
    assert running.reference.ends == (reference.min(), reference.max())
    assert running.found.ends == ((reference + noise).min(), (reference + noise).max())
    assert running.finding == ""


def test_identical(reference: np.ndarray) -> None:
    running = added(reference, reference)
    assert running.sqnr_db is None
    assert running.known_db == math.inf
    assert running.finding == ""


def test_not_finite(reference: np.ndarray) -> None:
    found = reference.copy()
    found[:, 0, :5] = np.nan
    running = added(reference, found)
    assert running.known_db == -math.inf
    assert running.finding == f"{5 / 150:.1%} of its values are not finite"
    assert running.found.ends == (np.nanmin(found), np.nanmax(found))


def test_what_is_not_finite_in_the_reference_is_no_fault(reference: np.ndarray) -> None:
    masked = reference.copy()
    masked[:, 1, 7] = -np.inf
    running = added(masked, masked)
    assert running.known_db == math.inf
    assert running.finding == ""


def test_dead(reference: np.ndarray) -> None:
    assert added(reference, np.full_like(reference, 0.5)).finding == "dead: one value everywhere"
    assert added(np.ones_like(reference), np.ones_like(reference)).finding == ""


def test_clipped(reference: np.ndarray) -> None:
    found = np.clip(reference, -1, 1)
    assert "clipped" in added(reference, found, (-1.0, 1.0)).finding
    assert "clipped" not in added(reference, found, (-5.0, 5.0)).finding
    assert "clipped" not in added(reference, found).finding


def test_a_reference_of_zeros(reference: np.ndarray) -> None:
    running = added(np.zeros_like(reference), reference)
    assert running.known_db is None
    assert "not defined" in running.finding


def test_scaled(reference: np.ndarray) -> None:
    running = added(reference, reference * 8)
    assert running.gain == pytest.approx(8)
    assert running.finding == "scaled: its values are about 8 times the reference's"


def test_noise_is_no_factor(reference: np.ndarray) -> None:
    other = np.random.default_rng(2).normal(size=reference.shape)
    assert added(reference, reference + other).gain is None
    assert added(reference, reference * 1.01).gain is None


def test_share_of_noise_that_is_the_same_for_every_sample(reference: np.ndarray) -> None:
    noise = np.random.default_rng(3).normal(size=reference.shape)
    steady = np.random.default_rng(4).normal(size=reference.shape[1:])
    assert added(reference, reference + noise).shifted_share == pytest.approx(0, abs=0.05)
    assert added(reference, reference + steady).shifted_share == pytest.approx(1)
    assert added(reference, reference + noise + steady).shifted_share == pytest.approx(0.5, abs=0.1)
    assert added(reference, reference).steady_share == pytest.approx(0, abs=0.05)
    assert added(reference[:1], reference[:1] + steady).shifted_share == 0
