"""Intervals of differences: their coverage, their agreement with others' code, and their words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from edgekit.drift_types import TaskFigure
from profiles import paired

Floats = npt.NDArray[np.float64]

# Discordant share, and the share of those that the file lost: agreeing classifiers, up to a file that only loses.
SETTINGS = [(discordant, lost) for discordant in (0.01, 0.02, 0.04, 0.08) for lost in (0.5, 0.7, 0.9)]


def held(low: Floats, high: Floats, truth: float) -> npt.NDArray[np.bool_]:
    return (low <= truth) & (truth <= high)


# Shares


@pytest.mark.parametrize("samples", [100, 300, 1000])
def test_coverage_of_shares_by_simulation(samples: int) -> None:
    generator = np.random.default_rng(samples)
    found = []
    for discordant, lost in SETTINGS:
        chances = [discordant * (1 - lost), discordant * lost, 1 - discordant]
        gained, given, _ = generator.multinomial(samples, chances, 4000).T
        covered = float(held(*paired.share_difference(gained, given, samples), chances[0] - chances[1]).mean())
        if samples * discordant >= 5:
            assert 0.93 <= covered <= 0.97, (samples, discordant, lost)
            found.append(covered)
        else:
            assert covered >= 0.93, (samples, discordant, lost)
    assert 0.94 <= np.mean(found) <= 0.96


def test_coverage_of_shares_computed_from_all_outcomes() -> None:
    """As the docstring has it: no luck of a simulation."""
    found = []
    for samples in (100, 300, 1000):
        for discordant, lost in [*SETTINGS, *((0.005, lost) for lost in (0.5, 0.7, 0.9))]:
            if samples * discordant < 5:
                continue
            most = int(min(samples, samples * discordant + 8 * math.sqrt(samples * discordant) + 10))
            gained, given = (axis.ravel() for axis in np.meshgrid(np.arange(most), np.arange(most)))
            possible = gained + given <= samples
            gained, given = gained[possible], given[possible]
            chances = [discordant * (1 - lost), discordant * lost, 1 - discordant]
            weights = stats.multinomial.pmf(np.stack([gained, given, samples - gained - given], 1), samples, chances)
            truth = chances[0] - chances[1]
            found.append(float(weights @ held(*paired.share_difference(gained, given, samples), truth)))
    assert min(found) == pytest.approx(0.931, abs=1e-3)
    assert max(found) == pytest.approx(0.958, abs=1e-3)


@pytest.mark.parametrize(("gained", "lost", "samples"), [(12, 2, 50), (1, 7, 21), (6, 16, 161), (0, 3, 1000)])
def test_bounds_of_shares_are_where_the_score_is_the_quantile(gained: int, lost: int, samples: int) -> None:
    """The score from its definition: the nuisance share maximizes the likelihood, here by search."""
    for bound, sign in zip(paired.share_difference(gained, lost, samples), (1, -1), strict=True):
        difference = float(bound)

        def unlikely(share: float, difference: float = difference) -> float:
            chances = [share + difference, share, 1 - 2 * share - difference]
            return -sum(
                count * math.log(max(chance, 1e-300))
                for count, chance in zip([gained, lost, samples - gained - lost], chances, strict=True)
            )

        limits = (max(0.0, -difference), (1 - difference) / 2)
        share = float(optimize.minimize_scalar(unlikely, bounds=limits, method="bounded", options={"xatol": 1e-12}).x)
        variance = samples * (2 * share + difference * (1 - difference))
        assert (gained - lost - samples * difference) / math.sqrt(variance) == pytest.approx(sign * 1.96, abs=2e-3)


def test_no_discordant_sample() -> None:
    assert paired.share_difference(0, 0, 50)[1] == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-5)


def test_swapping_the_two_mirrors_the_interval() -> None:
    low, high = paired.share_difference(3, 11, 200)
    back = paired.share_difference(11, 3, 200)
    assert (low, high) == (pytest.approx(-back[1]), pytest.approx(-back[0]))


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (0, 6), (2, 9), (30, 31), (0, 0)])
def test_differs_is_mcnemars_exact_test(gained: int, lost: int) -> None:
    before = np.arange(1000) < 900
    hits = before.copy()
    hits[:lost] = False
    hits[900 : 900 + gained] = True
    found = paired.share("top1", hits, before)
    expected = bool(gained + lost) and bool(stats.binomtest(gained, gained + lost).pvalue < 0.05)
    assert found.differs is expected
    assert found.difference == pytest.approx((gained - lost) / 1000)
    assert found.value is not None and found.reference == 0.9
    assert found.difference_low is not None and found.difference_high is not None
    assert found.difference_low <= found.difference <= found.difference_high
    assert (found.samples, found.method) == (1000, paired.MCNEMAR)


def test_a_share_without_reference_has_wilsons_interval() -> None:
    found = paired.share("top1", np.arange(4) < 3)
    assert (found.value, found.low, found.high) == (
        0.75,
        pytest.approx(0.3006, abs=1e-4),
        pytest.approx(0.9544, abs=1e-4),
    )
    assert found.difference is None and found.differs is None and found.reference is None


def test_no_samples_have_no_share() -> None:
    found = paired.share("top1", np.zeros(0, bool))
    assert found.value is None and found.unavailable


@pytest.mark.parametrize("discordant", [0.02, 0.1])
def test_samples_needed_give_the_power_that_they_promise(discordant: float) -> None:
    """Half a point is seen in 80 % of experiments of that size, by McNemar's test."""
    samples = paired.share_samples_needed(round(discordant * 1000), 1000)
    lost, gained = (discordant + 0.005) / 2, (discordant - 0.005) / 2
    more, less, _ = np.random.default_rng(3).multinomial(samples, [gained, lost, 1 - discordant], 4000).T
    seen = stats.binom.cdf(np.minimum(more, less), more + less, 0.5) * 2 < 0.05
    assert 0.76 <= seen.mean() <= 0.83


def test_samples_needed_where_none_is_discordant() -> None:
    assert paired.share_samples_needed(0, 100) == paired.share_samples_needed(3, 100)
    assert paired.share_samples_needed(0, 100_000) == paired.share_samples_needed(500, 100_000)


# Means


def errors(kind: str, samples: int, trials: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Errors of reference and file on the same samples, ``(samples, trials)``."""
    shape = (samples, trials)
    before = generator.lognormal(0, 1, shape)
    if kind == "noise":
        return before, np.abs(before + 0.2 * generator.standard_normal(shape))
    if kind == "skewed noise":
        before *= np.sign(generator.standard_normal(shape))
        return np.abs(before), np.abs(before + 0.1 * generator.lognormal(0, 1, shape))
    if kind == "unrelated":
        return before, 1.05 * generator.lognormal(0, 1, shape)
    before = generator.gamma(2, 1, shape)
    return before, before + 0.2 * generator.gamma(1, 1, shape)


KINDS = ("noise", "skewed noise", "unrelated", "gamma")


@pytest.mark.parametrize(("samples", "trials"), [(50, 1000), (500, 400)])
def test_coverage_of_mean_errors(samples: int, trials: int) -> None:
    """Of each kind in 93 to 97 %, give or take two deviations of the simulation itself; and so on average."""
    coverages = []
    for kind in KINDS:
        before, after = errors(kind, samples, trials, np.random.default_rng(samples + 1))
        many = errors(kind, 4000, 1000, np.random.default_rng(9))
        truth = float(many[1].mean() - many[0].mean())
        found = [paired.mean("error", "", False, after[:, trial], before[:, trial]) for trial in range(trials)]
        low, high = np.array([[one.difference_low, one.difference_high] for one in found], np.float64).T
        coverages.append(float(held(low, high, truth).mean()))
        noise = 2 * math.sqrt(0.95 * 0.05 / trials)
        assert 0.93 - noise <= coverages[-1] <= 0.97 + noise, kind
    assert 0.94 <= np.mean(coverages) <= 0.97


def root(means: Floats) -> Floats:
    return np.sqrt(means[..., 0])


def test_coverage_of_the_root_of_mean_squares() -> None:
    before, after = errors("gamma", 150, 800, np.random.default_rng(2))
    many = errors("gamma", 4000, 1000, np.random.default_rng(9))
    truth = math.sqrt((many[1] ** 2).mean()) - math.sqrt((many[0] ** 2).mean())
    found = [paired.mean("rmse", "", False, after[:, i] ** 2, before[:, i] ** 2, root) for i in range(800)]
    low, high = np.array([[one.difference_low, one.difference_high] for one in found], np.float64).T
    assert 0.93 <= held(low, high, truth).mean() <= 0.97


def test_coverage_of_what_is_resampled() -> None:
    generator, trials, samples = np.random.default_rng(4), 600, 100
    before = generator.random((samples, trials))
    after = np.clip(before + 0.05 * generator.standard_normal((samples, trials)) - 0.01, 0, 1)
    big = generator.random(4_000_000)
    truth = float((np.clip(big + 0.05 * generator.standard_normal(big.size) - 0.01, 0, 1) - big).mean())

    def average(column: Floats) -> Callable[[Floats], Floats]:
        return lambda drawn: drawn @ column / samples

    found = [
        paired.resampled("iou", "ratio", True, samples, average(after[:, i]), average(before[:, i]))
        for i in range(trials)
    ]
    low, high = np.array([[one.difference_low, one.difference_high] for one in found], np.float64).T
    assert 0.93 <= held(low, high, truth).mean() <= 0.97
    assert found[0].method == paired.PERCENTILE


def test_mean_and_its_difference() -> None:
    before, after = np.arange(20.0), np.arange(20.0) * 1.5 + 1
    found = paired.mean("mean_abs_error", "", False, after, before)
    assert (found.value, found.reference, found.difference) == (15.25, 9.5, 5.75)
    assert found.low is not None and found.high is not None and found.low < 15.25 < found.high
    assert found.differs is True and found.samples_needed is None
    assert found.method == paired.STUDENTIZED


def test_figures_repeat() -> None:
    before, after = np.random.default_rng(0).random((2, 60))
    assert paired.mean("e", "", False, after, before) == paired.mean("e", "", False, after, before)


def test_identical_errors_do_not_differ() -> None:
    errors_of_both = np.random.default_rng(0).random(60)
    found = paired.mean("rmse", "", False, errors_of_both, errors_of_both, root)
    assert (found.difference, found.difference_low, found.difference_high, found.differs) == (0, 0, 0, False)


def test_errors_of_zero() -> None:
    found = paired.mean("rmse", "", False, np.zeros(30), np.zeros(30), root)
    assert (found.value, found.low, found.high, found.difference, found.differs) == (0, 0, 0, 0, False)


def test_one_sample_that_differs_shows_nothing() -> None:
    before = np.random.default_rng(0).random(60)
    after = before.copy()
    after[7] += 1
    found = paired.mean("e", "", False, after, before)
    assert found.difference == pytest.approx(1 / 60)
    assert found.differs is False
    assert found.difference_low == pytest.approx(0, abs=1e-12)
    assert found.method == paired.PERCENTILE


def test_few_samples_have_no_interval() -> None:
    found = paired.mean("e", "", False, np.arange(4.0), np.ones(4))
    assert (found.value, found.difference) == (1.5, 0.5)
    assert found.low is None and found.difference_low is None and found.differs is None and not found.method
    found = paired.resampled("e", "", False, 4, lambda drawn: drawn[:, 0])
    assert (found.value, found.low) == (1, None)


def test_values_that_are_not_finite_are_counted() -> None:
    found = paired.mean("e", "", False, np.array([1.0, math.nan, math.inf]))
    assert found.value is None
    assert found.unavailable == "2 of 3 samples give no finite value"
    assert paired.mean("e", "", False, np.zeros((0, 1))).unavailable == "there are no samples"


def test_what_most_resamples_do_not_have_gets_no_interval() -> None:
    def first_alone(drawn: Floats) -> Floats:
        return np.where(drawn[:, 0] == 1, 0.5, np.nan)

    found = paired.resampled("x", "ratio", True, 50, first_alone)
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_draws_come_in_blocks_and_are_the_same_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(paired.draws(40, 90)))
    assert whole.shape == (90, 40)
    assert (whole.sum(axis=1) == 40).all()
    monkeypatch.setattr(paired, "_KEPT_ELEMENTS", 0)
    monkeypatch.setattr(paired, "_BLOCK_ELEMENTS", 400)
    blocks = list(paired.draws(40, 90))
    assert [len(block) for block in blocks] == [10] * 9
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


# Words

LOSS = TaskFigure(
    "top1", "ratio", True, 0.9, 0.88, 0.92, 0.903, -0.003, -0.007, 0.0, paired.MCNEMAR, 1000, False, 12_345
)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (
            LOSS,
            "top-1: int8 loses 0.3 points (95 %: 0.0 to 0.7), not shown to differ; 1,000 samples; "
            "about 12,000 would settle half a point",
        ),
        (
            replace(LOSS, difference=0.01, difference_low=0.002, difference_high=0.02, differs=True,
                    samples_needed=None),
            "top-1: int8 gains 1.0 points (95 %: 0.2 to 2.0), shown to differ; 1,000 samples",
        ),
        (
            replace(LOSS, difference=-0.005, difference_low=-0.0117, difference_high=-0.0004, samples_needed=None),
            "top-1: int8 loses 0.5 points (95 %: 0.0 to 1.2), at the edge and by the exact test not shown to differ; "
            "1,000 samples",
        ),
        (
            replace(LOSS, difference=0.0, difference_low=-0.004, difference_high=0.004, samples_needed=1568),
            "top-1: int8 is level with the reference (95 %: -0.4 to 0.4), not shown to differ; 1,000 samples; "
            "about 1,600 would settle half a point",
        ),
        (
            replace(LOSS, metric="word_error_rate", higher_is_better=False, difference=0.01, difference_low=-0.01,
                    difference_high=0.03, samples_needed=None),
            "word error rate: int8 is 1.0 points worse (95 %: -1.0 to 3.0), not shown to differ; 1,000 samples",
        ),
        (
            TaskFigure("rmse", "", False, 1.25, 1.0, 1.5, 1.5, -0.25, -0.5, -0.125, paired.STUDENTIZED, 1, True),
            "RMSE: int8 is 0.25 better (95 %: 0.125 to 0.5), shown to differ; 1 sample",
        ),
        (
            TaskFigure("top1", "ratio", True, 0.9, 0.88, 0.92, samples=50),
            "top-1 of int8: 90.0 % (95 %: 88.0 to 92.0); 50 samples",
        ),
        (TaskFigure("top1", "ratio", True, None, unavailable="no labels"), "top-1 of int8: not known, no labels"),
        (TaskFigure("mine", "", True, 2.5, samples=3), "mine of int8: 2.5; 3 samples"),
    ],
)  # fmt: skip
def test_words(figure: TaskFigure, expected: str) -> None:
    assert paired.words(figure, "int8") == expected


def test_figures_come_with_their_words() -> None:
    hits = np.arange(50) < 40
    found = paired.share("top1", hits, hits)
    assert found.words == paired.words(found)
    assert "the file is level with the reference" in found.words
