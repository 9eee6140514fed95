"""Properties of the Triton kernels, for any pair of views in float32: to what float32 can hold."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.loss.paths import TRITON_PATHS, LossPath
from vicreg_fast.loss import VICRegTerms, vicreg_loss

pytestmark = pytest.mark.parametrize("path", TRITON_PATHS)
forms = st.sampled_from(["gram", "covariance"])
few = settings(max_examples=8)


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    n, d = draw(st.integers(2, 70)), draw(st.integers(1, 70))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return torch.randn(2, n, d, generator=generator) * draw(st.floats(0.1, 3))


def _evaluate(
    path: LossPath, pair: Tensor, form: str, **options: Any
) -> tuple[Tensor, VICRegTerms, Tensor, Tensor]:
    x, y = (z.to(path.device).requires_grad_() for z in pair)
    loss, terms = vicreg_loss(x, y, form=form, backend=path.backend, return_terms=True, **options)
    return loss.detach(), terms, *torch.autograd.grad(loss, (x, y))


def _close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=2e-5, atol=2e-6 * scale)


@few
@given(views(), forms)
def test_the_views_may_be_exchanged(path: LossPath, pair: Tensor, form: str) -> None:
    loss, _, grad_x, grad_y = _evaluate(path, pair, form)
    swapped, _, grad_first, grad_second = _evaluate(path, pair.flip(0), form)
    _close(swapped, loss)
    _close(grad_first, grad_y)
    _close(grad_second, grad_x)


@few
@given(views(), forms, st.integers(0, 2**31))
def test_rows_may_be_permuted_together(path: LossPath, pair: Tensor, form: str, seed: int) -> None:
    order = torch.randperm(pair.shape[1], generator=torch.Generator().manual_seed(seed))
    loss, _, grad_x, _ = _evaluate(path, pair, form)
    permuted, _, grad_permuted, _ = _evaluate(path, pair[:, order], form)
    _close(permuted, loss)
    _close(grad_permuted, grad_x[order.to(grad_x.device)])


@few
@given(views(), forms, st.integers(-50, 50))
def test_a_shift_leaves_variance_and_covariance(path: LossPath, pair: Tensor, form: str, shift: int) -> None:
    pair = (pair * 1024).round() / 1024  # so that the shifted values are exact
    _, terms, _, _ = _evaluate(path, pair, form)
    _, shifted, _, _ = _evaluate(path, pair + shift, form)
    _close(shifted.variance, terms.variance)
    _close(shifted.covariance, terms.covariance, scale=100)


@few
@given(views(), forms, st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_both_views(path: LossPath, pair: Tensor, form: str, factor: float) -> None:
    _, terms, _, _ = _evaluate(path, pair, form, preset="no-eps")
    _, scaled, _, _ = _evaluate(path, factor * pair, form, preset="no-eps")
    _close(scaled.invariance, factor**2 * terms.invariance)
    _close(scaled.covariance, factor**4 * terms.covariance, scale=100 * factor**4)
    _close(scaled.std_mean, factor * terms.std_mean)


@few
@given(views())
def test_the_forms_are_equal(path: LossPath, pair: Tensor) -> None:
    gram, covariance = (_evaluate(path, pair, form) for form in ("gram", "covariance"))
    _close(gram[0], covariance[0], scale=100)
    _close(gram[2], covariance[2], scale=10)
    _close(gram[3], covariance[3], scale=10)
