"""Value and gradients of both forms and all presets against the float64 oracle."""

import pytest
import torch
from torch import Tensor

from tests.loss.cases import CASES, views_of
from tests.loss.paths import TORCH_PATHS, LossPath
from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.reference import vicreg_reference

FORMS = ("gram", "covariance")
PRESETS = ("official", "paper", "summed", "no-eps")


# Autograd through √0 is NaN: what ours gives for a constant column without ε has its own test.
UNDEFINED = {("constant columns beside others", "no-eps"), ("expanded", "no-eps")}


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("path", TORCH_PATHS)
def test_value_and_gradients_are_the_oracles(path: LossPath, case: str, preset: str, form: str) -> None:
    if (case, preset) in UNDEFINED:
        preset = "official"
    x, y = (z.detach().to(path.device).requires_grad_() for z in CASES[case])
    upstream = torch.tensor(-3.7, dtype=torch.float64, device=path.device)
    expected = vicreg_reference(x, y, preset=preset)
    assert isinstance(expected, Tensor)
    actual = vicreg_loss(x, y, preset=preset, form=form, backend=path.backend)
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
@pytest.mark.parametrize("path", TORCH_PATHS)
def test_each_term_is_the_oracles(
    path: LossPath, shape: tuple[int, int], weights: dict[str, float], form: str
) -> None:
    x, y = (z.to(path.device).requires_grad_() for z in views_of(*shape))
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
    x, y = views_of(41, 7)
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
        vicreg_reference(*views_of(2, 2), preset="offical")
