"""The rival's formula and the interleaved timing of losses."""

from functools import partial

import pytest
import torch
from torch import Tensor

from bench.loss_speed import PROVIDERS, LossProvider, loss_speedups, measure_loss, speedup_table
from bench.record import LossTiming
from bench.rivals import official_loss
from vicreg_fast.errors import UsageError
from vicreg_fast.loss.reference import vicreg_reference


@pytest.mark.parametrize("shape", [(41, 127), (127, 41), (2, 5), (7, 1)], ids=str)
def test_the_rival_is_the_authors_formula(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    x, y = x.requires_grad_(), y.requires_grad_()
    weights = {"invariance_weight": 3.0, "variance_weight": 5.0, "covariance_weight": 7.0}
    actual, expected = official_loss(x, y, **weights), vicreg_reference(x, y, **weights)
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    for gradient, wanted in zip(
        torch.autograd.grad(actual, (x, y)), torch.autograd.grad(expected, (x, y)), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-14)


def _provider(name: str, calls: list[str]) -> LossProvider:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        calls.append(name)
        return (x * y).sum()

    return LossProvider(name=name, loss=loss, form="covariance")


def test_pairs_are_interleaved_in_alternating_order() -> None:
    calls: list[str] = []
    timings = measure_loss(
        [(3, 4)], providers=[_provider("a", calls), _provider("b", calls)], pairs=4, min_seconds=1e-12
    )
    assert calls[4:] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert calls[:4] == ["a", "a", "b", "b"]
    assert [t.provider for t in timings] == ["a", "b"]
    assert all(len(t.seconds) == 4 and min(t.seconds) > 0 and t.calls_per_sample == 1 for t in timings)


def test_windows_hold_as_many_calls_as_they_need() -> None:
    calls: list[str] = []
    (timing,) = measure_loss([(3, 4)], providers=[_provider("a", calls)], pairs=2, min_seconds=0.005)
    assert timing.calls_per_sample > 1
    assert len(calls) == 2 + 2 * timing.calls_per_sample


def test_records_say_what_ran() -> None:
    timings = measure_loss(
        [(4, 8), (8, 4)],
        providers=[PROVIDERS["official"], PROVIDERS["auto"]],
        dtype=torch.float64,
        pairs=2,
        min_seconds=1e-9,
        round_number=3,
    )
    assert [(t.provider, t.form, t.n, t.d) for t in timings] == [
        ("official", "covariance", 4, 8),
        ("auto", "gram", 4, 8),
        ("official", "covariance", 8, 4),
        ("auto", "covariance", 8, 4),
    ]
    assert {(t.dtype, t.device, t.backend, t.phase, t.round) for t in timings} == {
        ("float64", "cpu", "torch", "forward+backward", 3)
    }
    assert LossTiming.model_validate_json(timings[0].model_dump_json()) == timings[0]


def _timing(provider: str, seconds: tuple[float, ...], n: int = 4) -> LossTiming:
    return LossTiming(
        provider=provider,
        form="gram",
        backend="torch",
        dtype="float32",
        device="cpu",
        n=n,
        d=8,
        seconds=seconds,
        calls_per_sample=1,
        pid=1,
        round=0,
    )


def test_speedup_is_the_baselines_time_over_the_contenders() -> None:
    timings = [_timing("official", (0.4, 0.8, 0.2)), _timing("gram", (0.1, 0.2, 0.05))]
    (speedup,) = loss_speedups(timings)
    assert (speedup.provider, speedup.n, speedup.d) == ("gram", 4, 8)
    assert speedup.speedup.estimate == pytest.approx(4)
    assert speedup.milliseconds == pytest.approx(100)
    assert "| 4 × 8 | gram | gram | 100.000 | 4.00 (4.00–4.00) |" in speedup_table(timings)


def test_a_shape_without_its_baseline_is_reported() -> None:
    timings = [_timing("official", (0.4,)), _timing("gram", (0.1,), n=5)]
    with pytest.raises(UsageError, match="5 × 8 has 0 timings of 'official'"):
        loss_speedups(timings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": []}, "at least one shape"),
        ({"providers": []}, "at least one shape and one provider"),
        ({"providers": [PROVIDERS["gram"], PROVIDERS["gram"]]}, "names must differ"),
        ({"pairs": 0}, "must be positive"),
        ({"min_seconds": 0.0}, "must be positive"),
    ],
)
def test_nothing_to_measure_is_said(change: dict[str, object], message: str) -> None:
    shapes = change.pop("shapes", [(2, 2)])
    with pytest.raises(UsageError, match=message):
        partial(measure_loss, shapes, **change)()  # type: ignore[arg-type]
