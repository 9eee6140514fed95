"""Lower precision: the error against the float64 oracle is earned, at most 2× that of the plain formula,
plus 1e-6.

Values are compared relative to the oracle's, gradients relative in norm. The plain formula is the authors',
in the dtype of the inputs, except for half precision products, squares and sums, which torch rounds to that
dtype at every step.
"""

import pytest
import torch
from torch import Tensor

from bench.rivals import official_loss
from tests.loss.earned import assert_earned
from tests.loss.paths import TORCH_PATHS, LossPath
from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.reference import vicreg_reference

SHAPES = [(41, 127), (127, 41), (128, 401), (2, 33), (33, 1)]


def _normal(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def _case(name: str, n: int, d: int) -> tuple[Tensor, Tensor]:
    x = _normal(1, n, d)
    y = x + 0.3 * _normal(2, n, d)
    if name == "offset":
        return x + 1e3, y + 1e3
    if name == "constant":
        return torch.full((n, d), 0.3), torch.full((n, d), 0.1)
    scale = {"unit": 1.0, "small": 1e-4, "large": 1e3}[name]
    return scale * x, scale * y


def _params() -> list[tuple[str, tuple[int, int], str]]:
    every = [
        (name, shape, form)
        for name in ("unit", "offset", "constant", "small", "large")
        for shape in SHAPES
        for form in ("gram", "covariance", "auto")
    ]
    # One column has no covariance, and the Gram form's is a rounding of v²: the next test says how small.
    return [case for case in every if case != ("large", (33, 1), "gram")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("name", "shape", "form"), _params())
@pytest.mark.parametrize("path", TORCH_PATHS)
def test_error_is_at_most_twice_the_plain_formulas(
    path: LossPath, name: str, shape: tuple[int, int], form: str, dtype: torch.dtype
) -> None:
    x, y = (z.to(path.device, dtype).requires_grad_() for z in _case(name, *shape))
    # The gradients of views a thousand times as large as usual fit into float16 only when scaled.
    upstream = 1e-6 if name == "large" else 1.0
    assert_earned(vicreg_loss(x, y, form=form, backend=path.backend), upstream, x, y)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_gram_form_of_one_column_has_the_rounding_of_its_squared_variance(scale: float) -> None:
    x, y = (scale * _normal(seed, 33, 1) for seed in (1, 2))
    _, terms = vicreg_loss(x, y, form="gram", return_terms=True)
    squares = float(x.var() ** 2 + y.var() ** 2)
    assert abs(float(terms.covariance)) < 4 * torch.finfo(torch.float32).eps * squares


@pytest.mark.parametrize("form", ["gram", "covariance"])
def test_decorrelated_columns_of_unit_variance_keep_the_covariance_to_1e_6(form: str) -> None:
    z = _normal(3, 127, 41).double()
    z = torch.linalg.qr(z - z.mean(dim=0)).Q * 126**0.5
    x = z.float().requires_grad_()
    weights = {"invariance_weight": 0.0, "variance_weight": 0.0}
    loss = vicreg_loss(x, x.detach(), form=form, **weights)
    x64 = x.detach().double().requires_grad_()
    oracle = vicreg_reference(x64, x64.detach(), **weights)
    assert isinstance(oracle, Tensor)
    assert abs(float(loss.detach()) - float(oracle.detach())) < 1e-6
    difference = torch.autograd.grad(loss, x)[0].double() - torch.autograd.grad(oracle, x64)[0]
    assert float(difference.norm()) < 1e-6


@pytest.mark.parametrize("form", ["gram", "covariance"])
def test_half_precision_does_not_overflow_where_the_plain_formula_does(form: str) -> None:
    x, y = (300 * _normal(seed, 64, 96).half() for seed in (1, 2))
    assert not torch.isfinite(official_loss(x, y))
    oracle = vicreg_reference(x, y)
    assert isinstance(oracle, Tensor)
    torch.testing.assert_close(vicreg_loss(x, y, form=form).double(), oracle, rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", ["gram", "covariance"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened_before_anything_else(dtype: torch.dtype, form: str) -> None:
    x, y = (_normal(seed, 31, 65).to(dtype).requires_grad_() for seed in (1, 2))
    wide_x, wide_y = (z.detach().float().requires_grad_() for z in (x, y))
    loss, wide = vicreg_loss(x, y, form=form), vicreg_loss(wide_x, wide_y, form=form)
    assert torch.equal(loss, wide)
    for gradient, wanted in zip(
        torch.autograd.grad(loss, (x, y)), torch.autograd.grad(wide, (wide_x, wide_y)), strict=True
    ):
        assert torch.equal(gradient, wanted.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    x, y = (_normal(seed, 31, 65).to(dtype).requires_grad_() for seed in (1, 2))
    plain = vicreg_loss(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = vicreg_loss(x, y)
        assert cast.dtype == torch.float32
        gradients = torch.autograd.grad(cast, (x, y))
    assert torch.equal(cast, plain)
    for gradient, wanted in zip(gradients, torch.autograd.grad(plain, (x, y)), strict=True):
        assert gradient.dtype == dtype
        assert torch.equal(gradient, wanted)


def test_a_loss_scale_reaches_the_gradient_before_half_precision_does() -> None:
    x, y = (_normal(seed, 512, 1024).half().requires_grad_() for seed in (1, 2))
    scale = torch.tensor(2.0**16)
    loss = vicreg_loss(x, y, invariance_weight=1e-4, variance_weight=1e-4, covariance_weight=1e-4)
    unscaled = torch.autograd.grad(loss, x, retain_graph=True)[0]
    scaled = torch.autograd.grad(loss, x, scale)[0]
    assert torch.count_nonzero(unscaled) < 0.9 * x.numel()
    assert torch.count_nonzero(scaled) > 0.99 * x.numel()
