"""Each rival is the loss its source has: in float64, the oracle of its preset."""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.rival_losses import augwester_loss, lightly_loss, solo_learn_loss, stable_pretraining_loss
from bench.rivals import official_loss
from vicreg_fast.loss.reference import vicreg_reference

SHAPES = [(41, 127), (127, 41), (2, 5), (7, 2)]


def _views(n: int, d: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), y.requires_grad_()


def _assert_same(loss: Tensor, oracle: Tensor, x: Tensor, y: Tensor) -> None:
    torch.testing.assert_close(loss, oracle, rtol=1e-12, atol=0)
    for gradient, wanted in zip(
        torch.autograd.grad(loss, (x, y)), torch.autograd.grad(oracle, (x, y)), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-14)


def _oracle(x: Tensor, y: Tensor, preset: str = "official", **weights: float) -> Tensor:
    loss = vicreg_reference(x, y, preset=preset, **weights)  # type: ignore[arg-type]
    assert isinstance(loss, Tensor)
    return loss


@pytest.mark.parametrize("shape", [*SHAPES, (7, 1)], ids=str)
def test_the_official_loss_is_the_authors_formula(shape: tuple[int, int]) -> None:
    x, y = _views(*shape)
    weights = {"invariance_weight": 3.0, "variance_weight": 5.0, "covariance_weight": 7.0}
    _assert_same(official_loss(x, y, **weights), _oracle(x, y, **weights), x, y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("loss", "preset"), [(solo_learn_loss, "summed"), (augwester_loss, "no-eps")], ids=["solo", "augwester"]
)
def test_a_formula_is_the_oracle_of_its_preset(
    loss: Callable[[Tensor, Tensor], Tensor], preset: str, shape: tuple[int, int]
) -> None:
    x, y = _views(*shape)
    _assert_same(loss(x, y), _oracle(x, y, preset), x, y)
    assert float(loss(x, y).detach()) != pytest.approx(float(_oracle(x, y).detach()), rel=1e-4)


@pytest.mark.parametrize(
    ("module", "extra", "build"),
    [
        ("lightly", "rivals", lightly_loss),
        ("stable_pretraining", "rivals-all", stable_pretraining_loss),
    ],
)
def test_a_package_is_the_official_loss(
    module: str, extra: str, build: Callable[[], Callable[[Tensor, Tensor], Tensor]]
) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs the package {module}; install vicreg-fast[{extra}]")
    x, y = _views(41, 127)
    _assert_same(build()(x, y), _oracle(x, y), x, y)
