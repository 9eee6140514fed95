"""The collapse guard: real runs that collapse are stopped, real runs that do not never are."""

import math
from typing import Any

import pytest
import torch

from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.errors import TrainingError
from vicreg_fast.training.health import CollapseGuard
from vicreg_fast.training.loop import Progress, Trainer

HEALTHY = {
    "step": 10,
    "loss": 21.3,
    "invariance": 0.18,
    "variance": 0.66,
    "covariance": 0.1,
    "std_mean": 0.34,
    "std_min": 0.16,
    "dead_fraction": 0.0,
    "effective_rank": 2.6,
    "off_diagonal_energy": 0.78,
}
COLLAPSED = HEALTHY | {"std_mean": 0.0217, "dead_fraction": 0.09, "effective_rank": 1.43}


def logged(recipe: Recipe, manifest: Manifest, guard: CollapseGuard) -> list[dict[str, Any]]:
    """The metrics of a run of `recipe` that logs every step to `guard`."""
    lines: list[dict[str, Any]] = []

    def on_step(progress: Progress) -> None:
        assert progress.metrics is not None
        lines.append(dict(progress.metrics))
        guard(progress.metrics)

    trainer = Trainer(recipe.replace(log_every_steps=1, pipeline="dali"), manifest, torch.device("cpu"))
    try:
        trainer.run(on_step=on_step)
    finally:
        trainer.close()
    return lines


def test_a_run_that_learns_never_trips_it(tiny: Recipe, manifest: Manifest) -> None:
    guard = CollapseGuard(patience=1, gamma=1.0)
    lines = logged(tiny, manifest, guard)
    assert len(lines) == 12
    assert not guard.suspicious
    assert all(line["std_mean"] > 4 * guard.mean_std_limit for line in lines)


def test_a_run_without_the_variance_term_is_stopped_in_one_line(tiny: Recipe, manifest: Manifest) -> None:
    recipe = tiny.replace(variance_weight=0.0, base_lr=3.0, max_steps=40)
    with pytest.raises(TrainingError) as caught:
        logged(recipe, manifest, CollapseGuard(patience=5, gamma=1.0))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("step ")
    assert int(message.split(":")[0].removeprefix("step ")) < 40
    for part in (
        "the embeddings have collapsed: ",
        "for 5 logged steps in a row",
        "invariance ",
        "variance ",
        "covariance ",
        "effective rank ",
        "raise variance_weight",
        "collapse_patience=0",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("signs", "reason"),
    [
        ({"std_mean": 0.0499}, "the mean σ 0.0499 is below 0.05"),
        ({"dead_fraction": 0.5}, "50% of the dimensions are dead"),
        ({"std_mean": 0.01, "dead_fraction": 1.0, "effective_rank": 0.0}, "100% of the dimensions are dead"),
        ({"effective_rank": 1.004}, "they lie on one line"),
    ],
)
def test_each_sign_is_enough_and_named(signs: dict[str, float], reason: str) -> None:
    guard = CollapseGuard(patience=2, gamma=1.0)
    guard(HEALTHY)
    guard(HEALTHY | signs)
    assert guard.suspicious
    with pytest.raises(TrainingError, match=f"step 10: the embeddings have collapsed: {reason}"):
        guard(HEALTHY | signs)


def test_a_healthy_step_starts_the_count_anew() -> None:
    guard = CollapseGuard(patience=3, gamma=1.0)
    for _ in range(5):
        guard(COLLAPSED)
        guard(COLLAPSED)
        assert guard.suspicious
        guard(HEALTHY)
        assert not guard.suspicious


def test_a_sign_that_is_not_finite_leaves_the_count() -> None:
    guard = CollapseGuard(patience=2, gamma=1.0)
    for wrong in (math.nan, math.inf):
        guard(HEALTHY | {"std_mean": wrong})
    assert not guard.suspicious
    guard(COLLAPSED)
    guard(HEALTHY | {"effective_rank": math.nan})
    assert guard.suspicious
    with pytest.raises(TrainingError):
        guard(COLLAPSED)


def test_patience_0_never_stops() -> None:
    guard = CollapseGuard(patience=0, gamma=1.0)
    for _ in range(100):
        guard(COLLAPSED)
    assert not guard.suspicious


def test_a_batch_of_two_has_rank_1_and_is_no_collapse() -> None:
    guard = CollapseGuard(patience=1, gamma=1.0)
    for _ in range(10):
        guard(HEALTHY | {"effective_rank": 1.0})
    assert not guard.suspicious


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0, 20.0])
def test_the_start_of_a_run_is_healthy_whatever_gamma_is(gamma: float) -> None:
    guard = CollapseGuard(patience=1, gamma=gamma)
    guard(HEALTHY)
    assert not guard.suspicious
    assert guard.mean_std_limit <= 0.05
