"""Properties that hold for any pair of views."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.loss.paths import each_device  # noqa: F401
from vicreg_fast.loss import VICRegTerms, vicreg_loss
from vicreg_fast.loss.gram import add_gram_gradient_, gram_covariance
from vicreg_fast.loss.primal import add_primal_gradient_, primal_covariance

forms = st.sampled_from(["gram", "covariance"])
presets = st.sampled_from(["official", "paper", "summed", "no-eps"])


@st.composite
def views(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    n, d = draw(st.integers(2, 24)), draw(st.integers(1, 24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    drawn = torch.randn(2, n, d, generator=generator, dtype=torch.float64, device="cpu")
    x, y = drawn.to(torch.get_default_device())
    return x * draw(st.floats(0.01, 10)), y * draw(st.floats(0.01, 10))


def _evaluate(x: Tensor, y: Tensor, **options: str) -> tuple[Tensor, VICRegTerms, Tensor, Tensor]:
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    loss, terms = vicreg_loss(x, y, return_terms=True, **options)
    return loss.detach(), terms, *torch.autograd.grad(loss, (x, y))


def _close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12 * scale)


@given(views(), forms, presets)
def test_the_views_may_be_exchanged(pair: tuple[Tensor, Tensor], form: str, preset: str) -> None:
    x, y = pair
    loss, _, grad_x, grad_y = _evaluate(x, y, form=form, preset=preset)
    swapped, _, grad_first, grad_second = _evaluate(y, x, form=form, preset=preset)
    _close(swapped, loss)
    _close(grad_first, grad_y)
    _close(grad_second, grad_x)


@given(views(), forms, st.randoms(use_true_random=False))
def test_rows_may_be_permuted_together(pair: tuple[Tensor, Tensor], form: str, random: object) -> None:
    x, y = pair
    order = list(range(x.shape[0]))
    random.shuffle(order)  # type: ignore[attr-defined]
    loss, _, grad_x, _ = _evaluate(x, y, form=form)
    permuted, _, grad_permuted, _ = _evaluate(x[order], y[order], form=form)
    _close(permuted, loss)
    _close(grad_permuted, grad_x[order])


@given(views(), forms, st.floats(-100, 100))
def test_a_shift_of_a_view_leaves_variance_and_covariance(
    pair: tuple[Tensor, Tensor], form: str, shift: float
) -> None:
    x, y = pair
    _, terms, _, _ = _evaluate(x, y, form=form)
    _, shifted, _, _ = _evaluate(x + shift * torch.arange(x.shape[1]).sin(), y, form=form)
    _close(shifted.variance, terms.variance)
    _close(shifted.covariance, terms.covariance, scale=1e3)


@given(views(), forms, st.floats(0.1, 10))
def test_scaling_both_views(pair: tuple[Tensor, Tensor], form: str, factor: float) -> None:
    """Invariance goes as the square, covariance as the fourth power, and σ without ε as the scale itself."""
    x, y = pair
    _, terms, _, _ = _evaluate(x, y, form=form, preset="no-eps")
    _, scaled, _, _ = _evaluate(factor * x, factor * y, form=form, preset="no-eps")
    _close(scaled.invariance, factor**2 * terms.invariance, scale=1e3)
    _close(scaled.covariance, factor**4 * terms.covariance, scale=1e8)
    _close(scaled.std_mean, factor * terms.std_mean)
    _close(scaled.std_min, factor * terms.std_min)


@given(views(), presets)
def test_the_forms_are_equal(pair: tuple[Tensor, Tensor], preset: str) -> None:
    gram = _evaluate(*pair, form="gram", preset=preset)
    covariance = _evaluate(*pair, form="covariance", preset=preset)
    _close(gram[0], covariance[0], scale=1e3)
    _close(gram[2], covariance[2], scale=1e3)
    _close(gram[3], covariance[3], scale=1e3)


@given(views(), forms)
def test_gradient_columns_of_variance_and_covariance_sum_to_zero(
    pair: tuple[Tensor, Tensor], form: str
) -> None:
    x, y = (z.requires_grad_() for z in pair)
    loss = vicreg_loss(x, y, form=form, invariance_weight=0.0)
    for gradient in torch.autograd.grad(loss, (x, y)):
        _close(gradient.sum(dim=0), torch.zeros(x.shape[1], dtype=torch.float64), scale=1e4)


@given(views(), st.data())
def test_row_ranges_add_up_to_the_batch(pair: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    """What a rank computes for its own rows: shares of the term add up, and gradients are rows of the
    whole's.
    """
    z_VND = torch.stack([z - z.mean(dim=0) for z in pair])
    N = z_VND.shape[1]
    variance_VD = z_VND.square().sum(dim=1) / (N - 1)
    column_VD = variance_VD.cos()
    cut = data.draw(st.integers(1, N - 1))
    parts = [slice(0, cut), slice(cut, N)]

    def gram(rows: slice) -> tuple[Tensor, Tensor]:
        share, product = gram_covariance(z_VND, variance_VD, rows)
        gradient = torch.zeros_like(z_VND[:, rows])
        add_gram_gradient_(gradient, product, z_VND, variance_VD, column_VD, rows, 0.7)
        return share, gradient

    def primal(rows: slice) -> tuple[Tensor, Tensor]:
        local_VnD = z_VND[:, rows]
        share, product = primal_covariance(z_VND, N, local_VnD.shape[1], None)
        gradient = torch.zeros_like(local_VnD)
        add_primal_gradient_(gradient, product, local_VnD, column_VD, N, 0.7)
        return share, gradient

    for form in (gram, primal):
        whole, whole_gradient = form(slice(None))
        shares, gradients = zip(*(form(rows) for rows in parts), strict=True)
        _close(shares[0] + shares[1], whole, scale=1e4)
        _close(torch.cat(gradients, dim=1), whole_gradient, scale=1e4)
