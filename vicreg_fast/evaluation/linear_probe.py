"""The linear probe: multinomial logistic regression on standardised frozen features.

The objective is convex and minimised by L-BFGS, to its tolerance or for MOST_ITERATIONS, and the result says
which. So a probe has no learning rate, no epochs and no luck: what differs between two probes is the
representation. Its one hyperparameter, the L2 weight, is chosen
on a tenth of the training features that is held out for that; the classifier is then fitted to all of them.
The test set is looked at once, at the end.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vicreg_fast.errors import DataError
from vicreg_fast.evaluation.features import Features

L2_WEIGHTS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Per-example L2 weights tried; one grid for every representation."""
MOST_ITERATIONS = 200
MOST_EVALUATIONS = 250


class Tried(NamedTuple):
    """One L2 weight of the grid; accuracies, in [0, 1], of its fit to nine tenths of the features."""

    l2_weight: float
    fit_top1: float
    held_out_top1: float


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    top1: float
    """In [0, 1]."""
    top5: float | None
    """None with fewer than six classes."""
    l2_weight: float
    train_top1: float
    confusion: tuple[tuple[int, ...], ...]
    """Test images by true class (rows) and predicted class (columns)."""
    predicted: tuple[int, ...]
    """Class of each test image."""
    tried: tuple[Tried, ...]
    objective: tuple[float, ...]
    """Of the final fit, at each evaluation: trial steps of the line search are among them."""
    iterations: int
    converged: bool
    """Whether the final fit ended by its tolerances and not by its limits."""


def linear_probe(
    train: Features, test: Features, classes: int, *, device: torch.device | str = "cpu", seed: int = 0
) -> ProbeResult:
    """Fits on `train`, measures on `test`. `seed` draws the held-out tenth.

    Raises DataError without at least two classes in the training features.
    """
    if classes < 2 or int(train.labels.min()) < 0 or int(test.labels.min()) < 0:
        raise DataError(
            "a linear probe needs labelled images of at least two classes: "
            "train/CLASS/*.jpg and test/CLASS/*.jpg"
        )
    x_train, x_test = _standardised(train.features.to(device), test.features.to(device))
    y_train, y_test = train.labels.to(device), test.labels.to(device)

    order = torch.randperm(len(y_train), generator=torch.Generator().manual_seed(seed)).to(device)
    held = max(1, len(order) // 10)
    fit, check = order[held:], order[:held]
    weight = torch.zeros(x_train.shape[1] + 1, classes, device=device)
    tried = []
    # From strong to weak, each from the one before: warm starts are cheap and exact.
    for l2_weight in L2_WEIGHTS:
        weight = _fitted(x_train[fit], y_train[fit], weight, l2_weight).weight
        shares = (_share_right(x_train[part], y_train[part], weight) for part in (fit, check))
        tried.append(Tried(l2_weight, *shares))
    best = max(tried, key=lambda one: (one.held_out_top1, one.l2_weight)).l2_weight
    final = _fitted(x_train, y_train, torch.zeros_like(weight), best)

    logits = _logits(x_test, final.weight)
    return ProbeResult(
        top1=_share_within(logits, y_test, 1),
        top5=_share_within(logits, y_test, 5) if classes > 5 else None,
        l2_weight=best,
        train_top1=_share_right(x_train, y_train, final.weight),
        confusion=_confusion(logits, y_test, classes),
        predicted=tuple(logits.argmax(1).tolist()),
        tried=tuple(tried),
        objective=final.objective,
        iterations=final.iterations,
        converged=final.converged,
    )


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = train.mean(0), train.std(0)
    # A dead feature stays a constant. Dead is relative, so that a probe does not see a feature's scale.
    std = torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std))
    return (train - mean) / std, (test - mean) / std


def _logits(x: Tensor, weight: Tensor) -> Tensor:
    return torch.addmm(weight[-1], x, weight[:-1])


def _share_right(x: Tensor, y: Tensor, weight: Tensor) -> float:
    return float((_logits(x, weight).argmax(1) == y).double().mean())


def _share_within(logits: Tensor, y: Tensor, k: int) -> float:
    """The share of rows whose class is among the k largest logits."""
    return float((logits.topk(k).indices == y[:, None]).any(1).double().mean())


def _confusion(logits: Tensor, y: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
    pairs = y * classes + logits.argmax(1)
    counts = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return tuple(tuple(row) for row in counts.tolist())


class _Fit(NamedTuple):
    weight: Tensor
    """(F+1, classes), with the bias, which is not decayed, as the last row."""
    objective: tuple[float, ...]
    iterations: int
    converged: bool


def _fitted(x: Tensor, y: Tensor, start: Tensor, l2_weight: float) -> _Fit:
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=MOST_ITERATIONS,
        max_eval=MOST_EVALUATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )
    objective: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(_logits(x, weight), y) + 0.5 * l2_weight * weight[:-1].square().sum()
        loss.backward()
        objective.append(loss.detach())
        return loss

    optimizer.step(closure)
    iterations = optimizer.state[weight]["n_iter"]
    return _Fit(
        weight=weight.detach(),
        objective=tuple(torch.stack(objective).tolist()),
        iterations=iterations,
        converged=iterations < MOST_ITERATIONS and len(objective) < MOST_EVALUATIONS,
    )
