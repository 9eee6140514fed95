"""A world of processes with SyncBatchNorm trains as one process with the whole batch does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.distributed.training_steps import Training, trained
from tests.distributed.worlds import World
from vicreg_fast.training.capture import WARMUP_STEPS_OF_RANKS


def apart(one: dict[str, Any], other: dict[str, Any], *, statistics: bool = True) -> float:
    """The largest difference of two networks' weights, and of their running statistics."""
    assert one["network"].keys() == other["network"].keys()
    return max(
        float(np.abs(value - other["network"][name]).max())
        for name, value in one["network"].items()
        if statistics or not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


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


def test_ranks_whose_capture_broke_off_go_on_from_where_they_were(pair: World) -> None:
    """In the middle of a backward, when DistributedDataParallel waits for the rest of it."""
    training = Training(steps=WARMUP_STEPS_OF_RANKS + 2, breaks="backward")
    ranks = pair.run(trained, training, 2)
    whole = trained(replace(training, breaks=""), 1)
    for rank in ranks:
        # A capture would leave the running statistics alone; what stands in for it here runs.
        assert apart(rank, whole, statistics=False) < 1e-9
        assert rank["note"] == "the step runs eagerly: its capture failed on rank 0 (a hook that waits)"


def test_a_capture_that_fails_on_one_rank_is_given_up_on_all(pair: World) -> None:
    training = Training(steps=WARMUP_STEPS_OF_RANKS + 2, breaks="rank 1")
    ranks = pair.run(trained, training, 2)
    assert apart(ranks[0], ranks[1]) == 0.0
    assert [rank["steps"] for rank in ranks] == [training.steps] * 2
    for rank in ranks:
        assert rank["note"] == "the step runs eagerly: its capture failed on rank 1 (no memory left)"
