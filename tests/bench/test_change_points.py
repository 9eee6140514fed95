"""Change points: the penalty, justified by simulation; and what is exact whatever the penalty."""

import math

import numpy as np
import pytest

from bench import change_points as module
from bench.change_points import FEWEST_POINTS, change_points, noise

NOISE = 0.02
"""Of the logarithm of a run's median on two overloaded cores: processes of one run of `bench loss --against`
differ by 4 to 5 %, and a median of seven by some 2 % (docs/LOG.md). On a quiet machine it is less."""


def flat(generator: np.random.Generator, points: int, heavy: bool) -> np.ndarray:
    """Logarithms of unchanged code: normal, or of Student's t with three degrees of freedom, whose outliers
    are those of a shared machine."""
    if not heavy:
        return generator.normal(0, NOISE, points)
    return generator.standard_t(3, points) * NOISE / math.sqrt(3)


def test_flat_series_have_no_change_in_95_of_100() -> None:
    generator = np.random.default_rng(0)
    tried = [
        change_points(np.exp(flat(generator, points, heavy)).tolist())
        for points, count in ((FEWEST_POINTS, 100), (12, 80), (24, 20))
        for heavy in (False, True)
        for _ in range(count)
    ]
    assert sum(map(bool, tried)) <= 0.05 * len(tried)


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_a_step_of_10_percent_is_found_in_90_of_100(factor: float) -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        logs = flat(generator, 12, heavy=False)
        step = int(generator.integers(3, 10))
        logs[step:] += math.log(factor)
        changes = change_points(np.exp(logs).tolist())
        found += any(
            abs(change.index - step) <= 1 and (change.ratio > 1) == (factor > 1) for change in changes
        )
    assert found >= 90


def test_a_change_has_its_place_and_its_size() -> None:
    wiggle = [1.0, 1.01, 0.99, 1.0, 1.01, 0.99]
    values = [*wiggle, *(1.2 * value for value in wiggle), *(0.9 * value for value in wiggle)]
    first, second = change_points(values)
    assert (first.index, second.index) == (6, 12)
    assert first.ratio == pytest.approx(1.2)
    assert second.ratio == pytest.approx(0.75)


def test_the_unit_and_the_scale_do_not_matter() -> None:
    values = [1.0, 1.01, 0.99, 1.0, 1.2, 1.21, 1.19, 1.2]
    (change,) = change_points(values)
    (scaled,) = change_points([1e-6 * value for value in values])
    assert (scaled.index, scaled.ratio) == (change.index, pytest.approx(change.ratio))


def test_one_outlier_is_no_change() -> None:
    values = [1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 5.0, 1.0, 0.99, 1.01, 1.0]
    assert change_points(values) == ()


def test_equal_values_have_noise_all_the_same() -> None:
    assert noise([0.0] * 10) == module.LEAST_NOISE
    assert change_points([1.0] * 10 + [1.001] * 10) == ()


def test_few_points_have_no_change() -> None:
    assert change_points([]) == ()
    assert change_points([1.0, 1.0, 1.0, 9.0, 9.0]) == ()
    assert change_points([1.0, 1.0, 1.0, 9.0, 9.0, 9.0]) != ()


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_has_no_logarithm_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        change_points([1.0] * 8 + [value])
