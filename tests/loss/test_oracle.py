"""Value and gradients of both forms and all presets against the float64 oracle."""

import pytest
import torch
from torch import Tensor

from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.reference import vicreg_reference

FORMS = ("gram", "covariance")
PRESETS = ("official", "paper", "summed", "no-eps")


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _views(n: int, d: int) -> tuple[Tensor, Tensor]:
    return _normal(n, n, d), 0.7 * _normal(d + 1000, n, d)


def _decorrelated(n: int, d: int) -> Tensor:
    centred = _normal(3, n, d)
    orthonormal = torch.linalg.qr(centred - centred.mean(dim=0)).Q
    return orthonormal * (n - 1) ** 0.5 + 1e-6 * _normal(4, n, d)


def _cases() -> dict[str, tuple[Tensor, Tensor]]:
    x, y = _views(41, 127)
    return {
        "odd, N < D": _views(41, 127),
        "odd, N > D": _views(127, 41),
        "odd, larger": _views(41, 401),
        "N = D - 1": _views(40, 41),
        "N = D": _views(41, 41),
        "N = D + 1": _views(42, 41),
        "N = 2": _views(2, 41),
        "D = 1": _views(41, 1),
        "N = 2, D = 1": _views(2, 1),
        "offset": (x + 1e3, y - 1e3),
        "decorrelated": (_decorrelated(127, 41), _decorrelated(127, 41).flip(0)),
        "constant columns beside others": (
            torch.cat([x, torch.ones(41, 3).double()], 1),
            _normal(9, 41, 130),
        ),
        "small": (1e-4 * x, 1e-4 * y),
        "large": (1e3 * x, 1e3 * y),
        "equal views": (x, x.clone()),
        "strided": (_normal(5, 82, 254)[::2, ::2], _normal(6, 82, 254)[::2, ::2]),
        "transposed": (_normal(7, 127, 41).T, _normal(8, 127, 41).T),
        "expanded": (_normal(11, 41, 1).expand(41, 17), _normal(12, 1, 17).expand(41, 17)),
    }


CASES = _cases()
# Autograd through √0 is NaN: what ours gives for a constant column without ε has its own test.
UNDEFINED = {("constant columns beside others", "no-eps"), ("expanded", "no-eps")}


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_the_oracles(case: str, preset: str, form: str) -> None:
    if (case, preset) in UNDEFINED:
        preset = "official"
    x, y = CASES[case]
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    upstream = torch.tensor(-3.7, dtype=torch.float64)
    expected = vicreg_reference(x, y, preset=preset)
    assert isinstance(expected, Tensor)
    actual = vicreg_loss(x, y, preset=preset, form=form)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(actual, (x, y), upstream)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, (x, y), upstream), strict=True):
        assert gradient.shape == wanted.shape
        assert _relative(gradient, wanted) < 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "weights",
    [
        {"invariance_weight": 0.0, "variance_weight": 0.0},
        {"invariance_weight": 0.0, "covariance_weight": 0.0},
        {"variance_weight": 0.0, "covariance_weight": 0.0},
        {
            "invariance_weight": 3.0,
            "variance_weight": 0.5,
            "covariance_weight": 7.0,
            "gamma": 0.6,
            "eps": 0.02,
        },
    ],
    ids=["covariance alone", "variance alone", "invariance alone", "other weights, gamma and eps"],
)
@pytest.mark.parametrize("shape", [(41, 127), (127, 41)])
def test_each_term_is_the_oracles(shape: tuple[int, int], weights: dict[str, float], form: str) -> None:
    x, y = (z.requires_grad_() for z in _views(*shape))
    reference = vicreg_reference(x, y, return_terms=True, **weights)
    expected, expected_terms = reference
    actual, terms = vicreg_loss(x, y, form=form, return_terms=True, **weights)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    for name, term in expected_terms.items():
        torch.testing.assert_close(getattr(terms, name), term, rtol=1e-12, atol=0)
    for gradient, wanted in zip(
        torch.autograd.grad(actual, (x, y)), torch.autograd.grad(expected, (x, y)), strict=True
    ):
        assert _relative(gradient, wanted) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_batch_has_sigma_root_eps_and_no_pull(form: str) -> None:
    x = torch.full((17, 5), 0.3, dtype=torch.float64, requires_grad=True)
    y = torch.full((17, 5), 0.1, dtype=torch.float64, requires_grad=True)
    loss, terms = vicreg_loss(x, y, form=form, return_terms=True)
    assert float(terms.std_min) == pytest.approx(0.01, rel=1e-12)
    assert float(terms.dead_fraction) == 1
    assert float(loss.detach()) == pytest.approx(25 * 0.04 + 25 * 0.99, rel=1e-12)
    gradient = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(gradient, torch.full_like(x, 50 * 0.2 / 85), rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_without_eps_a_constant_column_gets_no_pull_and_harms_no_other(form: str) -> None:
    x, y = _views(41, 7)
    x[:, 3] = 0.0
    x.requires_grad_()
    gradient = torch.autograd.grad(vicreg_loss(x, y, preset="no-eps", form=form, invariance_weight=0.0), x)[0]
    assert torch.count_nonzero(gradient[:, 3]) == 0
    others = [0, 1, 2, 4, 5, 6]
    expected = vicreg_reference(x, y, preset="no-eps", invariance_weight=0.0)
    assert isinstance(expected, Tensor)
    wanted = torch.autograd.grad(expected, x)[0]
    assert torch.isnan(wanted[:, 3]).all()
    torch.testing.assert_close(gradient[:, others], wanted[:, others], rtol=1e-11, atol=1e-15)


def test_the_oracle_refuses_a_preset_that_is_not_in_its_table() -> None:
    with pytest.raises(ValueError, match="'offical' is not one of official, paper"):
        vicreg_reference(*_views(2, 2), preset="offical")
