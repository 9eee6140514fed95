"""The Triton kernels, interpreted on a CPU and compiled on a GPU: the same loss, to the earned tolerance."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.loss.cases import CASES, normal
from tests.loss.earned import assert_earned
from tests.loss.paths import TRITON_PATHS, LossPath
from vicreg_fast.loss import VICRegTerms, plan_loss, vicreg_loss
from vicreg_fast.loss.reference import vicreg_reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMS = ("gram", "covariance")

pytestmark = pytest.mark.parametrize("path", TRITON_PATHS)


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """float32 products as float32, whatever a test before left."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def _views(case: str, dtype: torch.dtype, path: LossPath) -> tuple[Tensor, Tensor]:
    x, y = (z.to(path.device, dtype) for z in CASES[case])
    if case in ("strided", "transposed"):  # to() made them contiguous
        x, y = (z.T.contiguous().T for z in (x, y))
    return x.requires_grad_(), y.requires_grad_()


# In float16 these are infinite or zero before the loss sees them, or their oracle's gradient overflows.
BEYOND_FLOAT16 = {"large", "small"}


# A dtype changes what the kernels load, store and multiply with, and no index: float32 takes every case, half
# precision those of cut tiles, of an axis of one, of strides, and of values at the ends of its range.
HALF_CASES = (
    "odd, N < D", "odd, N > D", "N = 2, D = 1", "offset", "decorrelated", "small", "large", "transposed",
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, dtype) for dtype in DTYPES for case in (CASES if dtype == torch.float32 else HALF_CASES)],
    ids=str,
)
@pytest.mark.parametrize("form", FORMS)
def test_value_and_gradients_earn_their_tolerance(
    path: LossPath, case: str, form: str, dtype: torch.dtype
) -> None:
    x, y = _views(case, dtype, path)
    upstream = 1e-6 if case in BEYOND_FLOAT16 else 1.7
    if dtype == torch.float16 and case == "small":
        upstream = 1.0
    assert_earned(vicreg_loss(x, y, form=form, backend=path.backend), upstream, x, y)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("form", "shape"), [("gram", (41, 1271)), ("covariance", (401, 41))], ids=str)
def test_many_tiles_and_odd_ones(
    path: LossPath, form: str, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    x, y = (normal(seed, *shape).to(path.device, dtype).requires_grad_() for seed in (1, 2))
    assert_earned(vicreg_loss(x, y, form=form, backend=path.backend), 1.0, x, y)


@pytest.mark.parametrize("preset", ["official", "paper", "summed", "no-eps"])
@pytest.mark.parametrize("form", FORMS)
def test_every_term_of_every_preset(path: LossPath, form: str, preset: str) -> None:
    x, y = (normal(seed, 41, 57).to(path.device, torch.float32) for seed in (1, 2))
    weights = {"invariance_weight": 3.0, "variance_weight": 0.5, "covariance_weight": 7.0, "gamma": 1.2}
    expected, expected_terms = vicreg_reference(x, y, preset=preset, return_terms=True, **weights)
    loss, terms = vicreg_loss(
        x, y, preset=preset, form=form, backend=path.backend, return_terms=True, **weights
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    for name, term in expected_terms.items():
        torch.testing.assert_close(getattr(terms, name).double(), term, rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_diagnostics_are_those_of_the_torch_backend(path: LossPath, form: str) -> None:
    x, y = (normal(seed, 41, 57).to(path.device, torch.float32) for seed in (1, 2))
    x[:, :5] = 0.25

    def terms(backend: str) -> VICRegTerms:
        return vicreg_loss(x, y, form=form, backend=backend, return_terms=True)[1]

    for ours, wanted in zip(terms(path.backend), terms("torch"), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_inputs_give_equal_bits(path: LossPath, dtype: torch.dtype, form: str) -> None:
    x, y = _views("odd, N < D", dtype, path)

    def run() -> tuple[Tensor, ...]:
        loss = vicreg_loss(x, y, form=form, backend=path.backend)
        return loss.detach(), *torch.autograd.grad(loss, (x, y))

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_one_view_gets_the_gradient_it_gets_beside_the_other(path: LossPath, form: str) -> None:
    x, y = _views("odd, N < D", torch.float32, path)
    options = {"form": form, "backend": path.backend}
    both = torch.autograd.grad(vicreg_loss(x, y, **options), (x, y))
    assert torch.equal(torch.autograd.grad(vicreg_loss(x, y.detach(), **options), x)[0], both[0])
    assert torch.equal(torch.autograd.grad(vicreg_loss(x.detach(), y, **options), y)[0], both[1])


@pytest.mark.parametrize("form", FORMS)
def test_views_of_different_strides(path: LossPath, form: str) -> None:
    x, y = (normal(seed, 41, 57).to(path.device, torch.float32) for seed in (1, 2))
    mixed = x.T.contiguous().T.requires_grad_(), y.requires_grad_()
    assert mixed[0].stride() != mixed[1].stride()
    assert_earned(vicreg_loss(*mixed, form=form, backend=path.backend), 1.0, *mixed)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's, of the interpreter
def test_what_is_not_finite_reaches_the_loss(
    path: LossPath, bad: float, form: str, dtype: torch.dtype
) -> None:
    x, y = (normal(seed, 5, 9).to(path.device, dtype) for seed in (1, 2))
    x[3, 2] = bad
    x, y = x.requires_grad_(), y.requires_grad_()
    loss, terms = vicreg_loss(x, y, form=form, backend=path.backend, return_terms=True)
    assert not torch.isfinite(loss.detach())
    assert not any(torch.isfinite(term) for term in (terms.invariance, terms.variance, terms.covariance))
    assert not torch.isfinite(torch.autograd.grad(loss, x)[0]).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_batch_has_sigma_root_eps_and_no_pull(path: LossPath, form: str) -> None:
    x, y = (torch.full((17, 5), value, device=path.device, requires_grad=True) for value in (0.3, 0.1))
    loss, terms = vicreg_loss(x, y, form=form, backend=path.backend, return_terms=True)
    assert float(terms.std_min) == pytest.approx(0.01, rel=1e-6)
    assert float(loss.detach()) == pytest.approx(25 * 0.04 + 25 * 0.99, rel=1e-6)
    gradient = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(gradient, torch.full_like(x, 50 * 0.2 / 85), rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_without_eps_a_constant_column_gets_no_pull(path: LossPath, form: str) -> None:
    x, y = (normal(seed, 41, 7).to(path.device, torch.float32) for seed in (1, 2))
    x[:, 3] = 0.0
    x.requires_grad_()
    loss = vicreg_loss(x, y, preset="no-eps", form=form, backend=path.backend, invariance_weight=0.0)
    gradient = torch.autograd.grad(loss, x)[0]
    assert torch.count_nonzero(gradient[:, 3]) == 0
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("form", FORMS)
def test_float16_that_the_difference_of_two_values_overflows(path: LossPath, form: str) -> None:
    """±60000 about a mean of 0.3 times that: centred values reach 78000, over float16's 65504."""
    signs = torch.where(normal(1, 40, 24) > -0.4, 1.0, -1.0)
    x, y = ((60000 * signs).to(path.device, torch.float16), normal(2, 40, 24).to(path.device, torch.float16))
    weights = {"invariance_weight": 0.0, "form": form, "backend": path.backend}
    loss = vicreg_loss(x, y, **weights)
    oracle = vicreg_reference(x, y, invariance_weight=0.0)
    assert isinstance(oracle, Tensor)
    torch.testing.assert_close(loss.double(), oracle, rtol=1e-3, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_kept_is_what_the_plan_says(path: LossPath, dtype: torch.dtype, form: str) -> None:
    x, y = _views("odd, N < D", dtype, path)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vicreg_loss(x, y, form=form, backend=path.backend)
    n, D = x.shape
    plan = plan_loss(n, n, D, dtype, path.device, form=form, backend=path.backend)
    own = [t for t in kept if t.data_ptr() not in (x.data_ptr(), y.data_ptr())]
    assert len(kept) == len(own) + 2
    assert sum(t.untyped_storage().nbytes() for t in own) == plan.saved_bytes


def test_the_gradient_is_made_in_the_backward_with_the_loss_scale(path: LossPath) -> None:
    x, y = (normal(seed, 64, 96).to(path.device, torch.float16).requires_grad_() for seed in (1, 2))
    tiny = {"invariance_weight": 1e-5, "variance_weight": 1e-5, "covariance_weight": 1e-5}
    loss = vicreg_loss(x, y, backend=path.backend, **tiny)
    unscaled = torch.autograd.grad(loss, x, retain_graph=True)[0]
    scaled = torch.autograd.grad(loss, x, torch.tensor(2.0**16, device=path.device))[0]
    assert torch.count_nonzero(unscaled) < 0.9 * x.numel()
    assert torch.count_nonzero(scaled) > 0.99 * x.numel()


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_float32_products_are_as_torch_was_told(path: LossPath, precision: str) -> None:
    """Through its newer interface as well, after which the older one's getter raises."""
    from vicreg_fast.loss.fused import _precision

    x, y = (normal(seed, 41, 57).to(path.device, torch.float32).requires_grad_() for seed in (1, 2))
    products = torch.backends.cuda.matmul
    try:
        products.fp32_precision = precision
        assert _precision() == precision
        torch.autograd.grad(vicreg_loss(x, y, backend=path.backend), (x, y))
    finally:
        products.fp32_precision = "ieee"
    assert _precision() == "ieee"
    torch.set_float32_matmul_precision("high")
    assert _precision() == "tf32"
