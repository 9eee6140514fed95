"""The collapse guard: a run whose embeddings no longer tell images apart is stopped, and not saved.

What runs showed, and where the limits lie between them (γ = 1; batch 64 of the smoke recipe, batch 8 of a
network of four channels with 16 dimensions, on the built-in images):

| run | mean σ | dead dimensions | effective rank |
|---|---|---|---|
| at the start, ResNet-10, 18 and 50, any expander | 0.34 to 0.35 | 0 | 2.6 to 17 |
| training, base_lr up to 3 (small) | at least 0.24 | 0 | at least 1.16 |
| variance_weight = 0 (smoke), step 7, 25, 37 | 0.17, 0.049, 0.036 | 0 | 11, 5.0, 9.6 |
| the same (small, base_lr = 1), step 19, 37, 73 | 0.058, 0.020, 0.013 | 0, 9 %, 91 % | 2.3, 2.3, 1.8 |
| the same (small, base_lr = 3), step 13, 17 | 0.022, 0.010 | 9 %, all | 1.4, 0 |
| base_lr = 20 (small), step 18 to 40 | 0.10 to 0.53 | 0 to 12 % | 1.00 to 1.06 |

The last layer's initialisation fixes σ at the start, whatever γ is. The mean σ counts ε too, which keeps it
at 0.01 or above in the official preset, so a smaller limit would be none.
"""

import math
from collections.abc import Mapping

from vicreg_fast.errors import TrainingError

MEAN_STD_LIMIT = 0.05
"""Mean σ, as a share of γ or of 1 where γ is larger, below which embeddings count as collapsed."""
DEAD_LIMIT = 0.5
"""Share of dead dimensions from which on they do."""
RANK_LIMIT = 1.01
"""Effective rank below which all embeddings lie on one line."""
RANK_SEEN = 1.25
"""What the effective rank must have been before: a batch of two has rank 1 in every run."""


class CollapseGuard:
    """Called with the metrics of every logged step. Pure Python.

    patience: collapsed logged steps in a row that end the run; 0 never does, and `suspicious` stays False.
    gamma: the γ of the variance term.
    """

    def __init__(self, patience: int, gamma: float) -> None:
        self.patience = patience
        self.mean_std_limit = MEAN_STD_LIMIT * min(gamma, 1.0)
        self._in_a_row = 0
        self._rank_seen = False
        self._collapse: TrainingError | None = None

    @property
    def suspicious(self) -> bool:
        """The last logged step looked collapsed: what is saved now may be of no use."""
        return self._in_a_row > 0

    def __call__(self, metrics: Mapping[str, float | int]) -> None:
        """`metrics` has `step`, `loss` and the names of `vicreg_fast.loss.VICRegTerms`.

        Raises TrainingError, in one line with the reason, the step, the terms and the mend, at the
        `patience`-th collapsed step in a row. A healthy step starts the count anew; one with a sign that is
        not finite says nothing and leaves the count.
        """
        if self.patience == 0:
            return
        signs = [metrics[name] for name in ("std_mean", "dead_fraction", "effective_rank")]
        if not all(map(math.isfinite, signs)):
            return
        reason = self._reason(metrics)
        if reason is None:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._collapse = TrainingError(
            f"step {metrics['step']}: the embeddings have collapsed: {reason}, for {self._in_a_row} "
            f"logged {'step' if self._in_a_row == 1 else 'steps in a row'} ({_terms(metrics)}); raise "
            "variance_weight or lower base_lr, or train on with collapse_patience=0"
        )
        if self._in_a_row >= self.patience:
            raise self._collapse

    def require_healthy(self) -> None:
        """For the end of a run, whose patience no later step can use up. Raises the TrainingError of the last
        logged step if that looked collapsed."""
        if self.suspicious and self._collapse is not None:
            raise self._collapse

    def state_dict(self) -> dict[str, bool]:
        """Of a run that does not look collapsed, which is the only kind to be saved."""
        return {"rank_seen": self._rank_seen}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        self._rank_seen = state["rank_seen"]

    def _reason(self, metrics: Mapping[str, float | int]) -> str | None:
        std, dead, rank = metrics["std_mean"], metrics["dead_fraction"], metrics["effective_rank"]
        self._rank_seen = self._rank_seen or rank >= RANK_SEEN
        if dead >= DEAD_LIMIT:
            return f"{dead:.0%} of the dimensions are dead"
        if std < self.mean_std_limit:
            return f"the mean σ {std:.3g} is below {self.mean_std_limit:g}"
        if rank < RANK_LIMIT and self._rank_seen:
            return f"they lie on one line (effective rank {rank:.3f})"
        return None


def _terms(metrics: Mapping[str, float | int]) -> str:
    named = ", ".join(
        f"{name} {metrics[name]:.4g}" for name in ("loss", "invariance", "variance", "covariance")
    )
    return (
        f"{named}, mean σ {metrics['std_mean']:.3g}, dead dimensions {metrics['dead_fraction']:.0%}, "
        f"effective rank {metrics['effective_rank']:.3g}"
    )
