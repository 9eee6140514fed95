"""The signs of collapse, against their definitions by the whole covariance matrix."""

import pytest
import torch
from torch import Tensor

from tests.loss.cases import decorrelated, normal
from tests.loss.paths import TORCH_PATHS, LossPath
from vicreg_fast.loss import VICRegTerms, vicreg_loss

FORMS = ("gram", "covariance")

pytestmark = pytest.mark.parametrize("path", TORCH_PATHS)


def _terms(path: LossPath, x: Tensor, y: Tensor, form: str) -> VICRegTerms:
    x, y = x.to(path.device), y.to(path.device)
    return vicreg_loss(x, y, form=form, backend=path.backend, return_terms=True)[1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(41, 57), (57, 41), (2, 9)], ids=str)
def test_rank_and_energy_are_those_of_the_covariance_matrix(
    path: LossPath, shape: tuple[int, int], form: str
) -> None:
    views = [normal(1, *shape), normal(2, *shape) * torch.linspace(0.1, 2, shape[1], dtype=torch.float64)]
    ranks, energies = [], []
    for z in views:
        C = torch.cov(z.T)
        ranks.append(float(C.trace() ** 2 / C.square().sum()))
        energies.append(float(1 - C.diagonal().square().sum() / C.square().sum()))
    terms = _terms(path, views[0], views[1], form)
    assert float(terms.effective_rank) == pytest.approx(min(ranks), rel=1e-10)
    assert float(terms.off_diagonal_energy) == pytest.approx(max(energies), rel=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_decorrelated_dimensions_have_full_rank_and_one_dimension_has_rank_one(
    path: LossPath, form: str
) -> None:
    full = decorrelated(127, 41)
    terms = _terms(path, full, full.flip(0), form)
    assert float(terms.effective_rank) == pytest.approx(41, rel=1e-6)
    assert float(terms.off_diagonal_energy) < 1e-9
    line = normal(1, 127, 1) * normal(2, 1, 41)
    terms = _terms(path, full, line, form)
    assert float(terms.effective_rank) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_batch_has_neither_rank_nor_energy(path: LossPath, form: str) -> None:
    x = torch.full((17, 5), 0.3, dtype=torch.float64)
    terms = _terms(path, x, x, form)
    assert (float(terms.effective_rank), float(terms.off_diagonal_energy)) == (0, 0)
    assert float(terms.dead_fraction) == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_dead_dimension_is_counted(path: LossPath, form: str) -> None:
    x, y = normal(1, 41, 8), normal(2, 41, 8)
    x[:, :2] = 1.0
    y[:, 0] *= 1e-3
    assert float(_terms(path, x, y, form).dead_fraction) == pytest.approx(3 / 16)


def test_what_is_not_finite_shows(path: LossPath) -> None:
    x = normal(1, 41, 8)
    x[0, 0] = torch.nan
    terms = _terms(path, x, normal(2, 41, 8), "gram")
    assert torch.isnan(terms.effective_rank)
    assert torch.isnan(terms.off_diagonal_energy)
