"""The statistics of a regression run, against scipy's and by hand."""

import math

import pytest
from scipy import stats

from bench.regression_statistics import holm, paired_contrast, pooled_contrast


def test_a_paired_contrast_is_the_paired_t_test() -> None:
    base, head = [0.10, 0.30, 0.20, 0.55], [0.13, 0.41, 0.22, 0.63]
    contrast = paired_contrast(base, head)
    theirs = stats.ttest_rel(head, base)
    low, high = theirs.confidence_interval(0.95)
    interval = contrast.interval(0.025)
    assert (math.log(interval.low), math.log(interval.high)) == pytest.approx((low, high))
    assert contrast.p_above(0) == pytest.approx(theirs.pvalue / 2)
    assert contrast.p_above(1) > 0.999
    assert contrast.mirrored().p_above(0) == pytest.approx(1 - theirs.pvalue / 2)


def test_a_pooled_contrast_is_the_two_sample_t_test_and_does_with_one_value() -> None:
    base, head = [0.10, 0.30, 0.20], [0.43, 0.41, 0.52, 0.63]
    contrast = pooled_contrast(base, head, alike=[])
    theirs = stats.ttest_ind(head, base)
    assert contrast.p_above(0) == pytest.approx(theirs.pvalue / 2)
    single = pooled_contrast([0.2], [0.4, 0.5, 0.6], alike=[0.1, 0.2, 0.3])
    assert single.degrees == 4
    assert single.mean == pytest.approx(0.3)
    assert single.error == pytest.approx(0.1 * math.sqrt(1 + 1 / 3))
    for sides in (([0.2], [0.4]), ([], [0.4, 0.5])):
        with pytest.raises(ValueError, match="two values"):
            pooled_contrast(*sides, alike=[])


def test_a_contrast_without_spread_decides_by_its_sign() -> None:
    same = paired_contrast([0.1, 0.2], [0.1, 0.2])
    assert (same.p_above(0.0), same.p_above(-0.1)) == (1.0, 0.0)
    with pytest.raises(ValueError, match="two pairs"):
        paired_contrast([0.1], [0.2])


def test_holm_steps_down_and_stops() -> None:
    decisions = holm({"a": 0.01, "b": 0.008, "c": 0.03, "d": 0.001}, 0.04)
    # d: 0.001 ≤ 0.04/4, b: 0.008 ≤ 0.04/3, a: 0.01 ≤ 0.04/2, c: 0.03 ≤ 0.04/1
    assert all(decision.rejected for decision in decisions.values())
    assert [decisions[name].level for name in "dbac"] == pytest.approx([0.01, 0.04 / 3, 0.02, 0.04])
    stopped = holm({"a": 0.03, "b": 0.0301, "c": 0.039}, 0.04)
    assert not any(decision.rejected for decision in stopped.values())
    assert {decision.level for decision in stopped.values()} == {0.04 / 3}
    assert holm({}, 0.05) == {}
