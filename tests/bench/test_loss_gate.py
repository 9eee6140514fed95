"""The gate lets the right losses through and no other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.loss_gate import Gate
from bench.loss_providers import PROVIDERS, LossProvider
from bench.loss_speed import draw_views
from bench.rivals import official_loss

HERE = ("official", "solo-learn", "augwester", "auto", "gram", "covariance")


def _gate(n: int = 48, d: int = 80, dtype: torch.dtype = torch.float32) -> Gate:
    return Gate(*draw_views(n, d, dtype, torch.device("cpu")))


def _provider(loss: Callable[[Tensor, Tensor], Tensor], preset: str = "official") -> LossProvider:
    return LossProvider(name="other", source="a test", build=lambda: loss, preset=preset)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (2, 3)], ids=str)
def test_every_loss_that_runs_here_passes(shape: tuple[int, int], dtype: torch.dtype) -> None:
    gate = _gate(*shape, dtype)
    for name in HERE:
        verdict = gate.check(PROVIDERS[name], PROVIDERS[name].build())
        assert verdict.passed, verdict
        assert (verdict.provider, verdict.n, verdict.d) == (name, *shape)


def test_other_conventions_pass_as_their_own_preset_only() -> None:
    for name in ("solo-learn", "augwester"):
        loss = PROVIDERS[name].build()
        verdict = _gate().check(PROVIDERS[name], loss)
        assert verdict.passed
        assert verdict.value_over_official is not None
        assert verdict.value_over_official > 1.01
        assert not _gate().check(_provider(loss), loss).passed


def test_a_wrong_value_is_refused() -> None:
    verdict = _gate().check(_provider(official_loss), lambda x, y: official_loss(x, y) * (1 + 1e-5))
    assert not verdict.passed
    assert verdict.value_error == pytest.approx(1e-5, rel=0.1)
    assert verdict.value_allowed < 2e-6


def test_a_wrong_gradient_with_the_right_value_is_refused() -> None:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        return official_loss(x, y) + 1e-3 * (x - x.detach()).sum()

    verdict = _gate().check(_provider(loss), loss)
    assert not verdict.passed
    assert verdict.value_error is not None
    assert verdict.value_error < verdict.value_allowed
    assert verdict.gradient_error is not None
    assert verdict.gradient_error > verdict.gradient_allowed


def test_a_loss_that_is_not_finite_is_refused() -> None:
    verdict = _gate().check(_provider(official_loss), lambda x, y: official_loss(x, y) * float("nan"))
    assert not verdict.passed
    assert verdict.value_error is None


def test_the_plain_formula_is_held_to_its_roundings() -> None:
    right = _gate().check(PROVIDERS["official"], official_loss)
    assert right.passed
    assert right.value_allowed < 1e-5
    wrong = _gate().check(PROVIDERS["official"], lambda x, y: official_loss(x, y, covariance_weight=1.01))
    assert not wrong.passed


def test_the_tolerance_is_earned_by_the_plain_formula_without_it_being_asked_for() -> None:
    gate = _gate(dtype=torch.bfloat16)
    plain = gate.check(PROVIDERS["official"], official_loss)
    alone = _gate(dtype=torch.bfloat16).check(PROVIDERS["gram"], PROVIDERS["gram"].build())
    assert plain.gradient_error is not None
    assert alone.gradient_allowed == pytest.approx(2 * plain.gradient_error + 1e-6)
