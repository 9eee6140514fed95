"""A world of processes with SyncBatchNorm trains as one process with the whole batch does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.distributed.training_steps import Training, trained
from tests.distributed.worlds import World


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two networks' weights and statistics."""
    assert one["network"].keys() == other["network"].keys()
    return max(float(np.abs(value - other["network"][name]).max()) for name, value in one["network"].items())


@pytest.mark.parametrize(
    "training",
    [Training(), Training(accumulate=2), Training(optimizer="sgd")],
    ids=["lars", "lars, accumulated", "sgd"],
)
def test_two_ranks_are_one_with_the_whole_batch(training: Training, pair: World) -> None:
    ranks = pair.run(trained, training, 2)
    whole = trained(training, 1)
    for rank in ranks:
        assert apart(rank, whole) < 1e-10
        assert rank["losses"] == pytest.approx(whole["losses"], rel=1e-10)
        assert rank["terms"] == pytest.approx(whole["terms"], rel=1e-10, abs=1e-12)
        assert rank["steps"] == training.steps
    assert apart(ranks[0], ranks[1]) == 0.0
    assert apart(whole, trained(replace(training, steps=1), 1)) > 1e-3  # it was trained


def test_without_synchronised_statistics_they_are_not(pair: World) -> None:
    training = Training(sync_batchnorm=False)
    assert apart(pair.run(trained, training, 2)[0], trained(training, 1)) > 1e-4
