"""Each preset against its source's formula, written out by hand with loops over entries: not through
reference.py.
"""

import math

import pytest
import torch

from tests.loss.paths import each_device  # noqa: F401
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.presets import PRESETS

X = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5], [-0.75, 0.0, 1.0], [0.1, 0.2, 0.3]]
Y = [[0.4, -0.8, 1.5], [1.0, 0.5, -0.25], [-1.0, 0.1, 0.75], [0.0, -0.2, 0.6]]
N, D = 4, 3


def _covariance(z: list[list[float]]) -> list[list[float]]:
    mean = [sum(row[j] for row in z) / N for j in range(D)]
    return [
        [sum((row[j] - mean[j]) * (row[k] - mean[k]) for row in z) / (N - 1) for k in range(D)]
        for j in range(D)
    ]


def _squared_distance() -> float:
    return sum((X[i][j] - Y[i][j]) ** 2 for i in range(N) for j in range(D))


def _hinge(z: list[list[float]], eps: float) -> float:
    covariance = _covariance(z)
    return sum(max(0.0, 1 - math.sqrt(covariance[j][j] + eps)) for j in range(D)) / D


def _off_diagonal(z: list[list[float]]) -> float:
    covariance = _covariance(z)
    return sum(covariance[j][k] ** 2 for j in range(D) for k in range(D) if j != k) / D


def _official() -> float:
    """main_vicreg.py: mse_loss, then mean(relu(1 - std))/2 a view."""
    variance = _hinge(X, 1e-4) / 2 + _hinge(Y, 1e-4) / 2
    return 25 * _squared_distance() / (N * D) + 25 * variance + _off_diagonal(X) + _off_diagonal(Y)


def _paper() -> float:
    """Equations 1 to 6: s = (1/n) Σ ‖z − z'‖², and v(Z) + v(Z')."""
    variance = _hinge(X, 1e-4) + _hinge(Y, 1e-4)
    return 25 * _squared_distance() / N + 25 * variance + _off_diagonal(X) + _off_diagonal(Y)


def _summed() -> float:
    """mse_loss as in the official code, but the two views' hinges are added, not averaged."""
    variance = _hinge(X, 1e-4) + _hinge(Y, 1e-4)
    return 25 * _squared_distance() / (N * D) + 25 * variance + _off_diagonal(X) + _off_diagonal(Y)


def _no_eps() -> float:
    variance = _hinge(X, 0.0) + _hinge(Y, 0.0)
    return 25 * _squared_distance() / (N * D) + 25 * variance + _off_diagonal(X) + _off_diagonal(Y)


BY_HAND = {"official": _official, "paper": _paper, "summed": _summed, "no-eps": _no_eps}


@pytest.mark.parametrize("form", ["gram", "covariance"])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_preset_is_its_formula_by_hand(preset: str, form: str) -> None:
    x, y = torch.tensor(X, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64)
    assert float(vicreg_loss(x, y, preset=preset, form=form)) == pytest.approx(BY_HAND[preset](), rel=1e-13)


def test_presets_differ_on_these_views() -> None:
    assert len({round(by_hand(), 6) for by_hand in BY_HAND.values()}) == len(BY_HAND)


def test_eps_of_a_preset_can_be_replaced() -> None:
    x, y = torch.tensor(X, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64)
    assert torch.equal(vicreg_loss(x, y, preset="summed", eps=0.0), vicreg_loss(x, y, preset="no-eps"))


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    x = torch.ones(2, 2)
    with pytest.raises(UsageError, match=r"preset = 'oficial': no such preset \(did you mean 'official'\?\)"):
        vicreg_loss(x, x, preset="oficial")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("invariance_weight", -1.0),
        ("variance_weight", math.nan),
        ("covariance_weight", math.inf),
        ("gamma", 0.0),
        ("gamma", -1.0),
        ("eps", -1e-4),
    ],
)
def test_a_number_that_cannot_be_is_named(option: str, value: float) -> None:
    x = torch.ones(2, 2)
    with pytest.raises(UsageError, match=f"{option} = "):
        vicreg_loss(x, x, **{option: value})
