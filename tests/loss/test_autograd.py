"""The autograd.Function: gradcheck, one view only, what is kept for the backward, and what is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.loss.paths import each_device  # noqa: F401
from vicreg_fast.loss import plan_loss, vicreg_loss

FORMS = ("gram", "covariance")


def _views(n: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * 1009 + d)
    drawn = torch.randn(2, n, d, generator=generator, dtype=torch.float64, device="cpu")
    x, y = drawn.to(torch.get_default_device(), dtype)
    return x.requires_grad_(), y.requires_grad_()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (2, 3), (4, 1)], ids=str)
def test_gradcheck(shape: tuple[int, int], form: str) -> None:
    assert torch.autograd.gradcheck(lambda x, y: vicreg_loss(x, y, form=form), _views(*shape))


def _packed(call: Callable[[], Tensor]) -> list[Tensor]:
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return kept


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "itemsize"),
    [(torch.float64, 8), (torch.float32, 4), (torch.bfloat16, 4), (torch.float16, 4)],
    ids=str,
)
def test_saved_bytes_are_one_gradient_a_view(dtype: torch.dtype, itemsize: int, form: str) -> None:
    x, y = _views(23, 57, dtype)
    (kept,) = _packed(lambda: vicreg_loss(x, y, form=form))
    assert kept.untyped_storage().nbytes() == 2 * 23 * 57 * itemsize
    assert (
        plan_loss(23, 23, 57, dtype, x.device.type, form=form).saved_bytes == kept.untyped_storage().nbytes()
    )
    (kept,) = _packed(lambda: vicreg_loss(x, y.detach(), form=form))
    assert kept.untyped_storage().nbytes() == 23 * 57 * itemsize
    (kept,) = _packed(lambda: vicreg_loss(x.detach(), y, form=form))
    assert kept.untyped_storage().nbytes() == 23 * 57 * itemsize
    assert _packed(lambda: vicreg_loss(x.detach(), y.detach(), form=form)) == []


@pytest.mark.parametrize("form", FORMS)
def test_one_view_gets_the_gradient_it_gets_beside_the_other(form: str) -> None:
    x, y = _views(23, 57)
    both = torch.autograd.grad(vicreg_loss(x, y, form=form), (x, y))
    only_x = torch.autograd.grad(vicreg_loss(x, y.detach(), form=form), x)[0]
    only_y = torch.autograd.grad(vicreg_loss(x.detach(), y, form=form), y)[0]
    torch.testing.assert_close(only_x, both[0], rtol=1e-12, atol=1e-16)
    torch.testing.assert_close(only_y, both[1], rtol=1e-12, atol=1e-16)


def test_the_value_is_the_same_without_gradients() -> None:
    x, y = _views(23, 57)
    with torch.no_grad():
        value = vicreg_loss(x, y)
    assert not value.requires_grad
    assert torch.equal(value, vicreg_loss(x, y).detach())


def test_inputs_are_left_as_they_were() -> None:
    x, y = _views(23, 57)
    before = x.detach().clone(), y.detach().clone()
    vicreg_loss(x, y).backward()
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_a_second_backward_of_a_retained_graph_gives_the_same() -> None:
    x, y = _views(23, 57)
    loss = vicreg_loss(x, y)
    first = torch.autograd.grad(loss, (x, y), retain_graph=True)
    second = torch.autograd.grad(loss, (x, y))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_derivative_is_refused() -> None:
    x, y = _views(5, 9)
    upstream = torch.ones((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(vicreg_loss(x, y), x, upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_terms_carry_no_gradient() -> None:
    x, y = _views(5, 9)
    loss, terms = vicreg_loss(x, y, return_terms=True)
    assert loss.requires_grad
    assert not any(term.requires_grad for term in terms)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("view", [0, 1])
def test_what_is_not_finite_reaches_the_loss(view: int, bad: float, form: str) -> None:
    views = [z.detach().clone() for z in _views(5, 9, torch.float32)]
    views[view][3, 2] = bad
    x, y = (z.requires_grad_() for z in views)
    loss, terms = vicreg_loss(x, y, form=form, return_terms=True)
    assert not torch.isfinite(loss.detach())
    assert not any(torch.isfinite(term) for term in (terms.invariance, terms.variance, terms.covariance))
    assert not torch.isfinite(torch.autograd.grad(loss, (x, y))[view]).all()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_waits_for_the_data(form: str) -> None:
    """Fake tensors have no values: anything that reads one, or branches on one, raises."""
    with FakeTensorMode():
        x, y = (torch.empty(5, 9).requires_grad_() for _ in range(2))
        loss, terms = vicreg_loss(x, y, form=form, return_terms=True)
        gradients = torch.autograd.grad(loss, (x, y), torch.empty(()))
        with pytest.raises(DataDependentOutputException):
            loss.item()
    assert [g.shape for g in gradients] == [x.shape, y.shape]
    assert all(term.shape == () for term in terms)
