"""The interleaved timing of losses, forward and backward apart."""

import pytest
import torch
from torch import Tensor

from bench.compare import Interval
from bench.loss_compare import Place, seconds_of, times_as_fast
from bench.loss_providers import PROVIDERS
from bench.loss_record import LossTiming
from bench.loss_speed import FEWEST_PAIRS, Pairs, Samples, draw_views, time_losses, timing_records
from bench.rival_losses import LossFunction
from tests.clock import Clock
from vicreg_fast.errors import UsageError

CPU = torch.device("cpu")
PLACE = Place(device="cpu", dtype="float32", n=4, d=8)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What a loss does takes as long as it says."""
    found = Clock()
    monkeypatch.setattr("bench.loss_speed.time", found)
    return found


def _views(n: int = 3, d: int = 4) -> tuple[Tensor, Tensor]:
    return draw_views(n, d, torch.float32, CPU)


def _loss(name: str, calls: list[str], clock: Clock, seconds: float = 1.0) -> LossFunction:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        calls.append(name)
        clock.sleep(seconds)
        return (x * y).sum()

    return loss


def test_pairs_are_interleaved_in_alternating_order(clock: Clock) -> None:
    calls: list[str] = []
    losses = {name: _loss(name, calls, clock, seconds) for name, seconds in (("a", 1.0), ("b", 2.0))}
    samples = time_losses(losses, *_views(), Pairs(most=4, min_seconds=1 / 64))
    assert calls == ["a", "b", *"abbaabba"]
    assert list(samples) == ["a", "b"]
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        assert samples[name] == Samples(calls=1, forward=[seconds] * 4, backward=[0.0] * 4)


def test_windows_hold_as_many_calls_as_they_need_after_one_that_warms_up(clock: Clock) -> None:
    calls: list[str] = []
    found = time_losses({"a": _loss("a", calls, clock)}, *_views(), Pairs(most=2, min_seconds=4.5))
    (samples,) = found.values()
    assert samples == Samples(calls=5, forward=[1.0] * 2, backward=[0.0] * 2)
    assert len(calls) == 4 + 2 * (1 + samples.calls)


def test_a_call_of_a_few_windows_is_warmed_up_as_shorter_ones_are(clock: Clock) -> None:
    """Or of two losses about as long as a window, one would be timed with cold caches and one with warm."""
    calls: list[str] = []
    losses = {"a": _loss("a", calls, clock, seconds=2.0)}
    (samples,) = time_losses(losses, *_views(), Pairs(most=2, min_seconds=1.0)).values()
    assert samples.calls == 1
    assert len(calls) == 1 + 2 * (1 + samples.calls)


def test_a_call_that_is_known_to_be_long_is_not_tried_again(clock: Clock) -> None:
    calls: list[str] = []
    roughly = {"a": 1.0, "b": 0.1}
    losses = {name: _loss(name, calls, clock, seconds) for name, seconds in roughly.items()}
    time_losses(losses, *_views(), Pairs(most=1, min_seconds=0.01), roughly)
    assert calls[0] == "b"
    assert calls.count("a") == 1


def test_forward_and_backward_are_told_apart(clock: Clock) -> None:
    class Sleeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
            clock.sleep(1.0)
            return x.new_zeros(())

        @staticmethod
        def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor]:
            clock.sleep(3.0)
            return torch.zeros(3, 4), torch.zeros(3, 4)

    (samples,) = time_losses({"a": Sleeps.apply}, *_views(), Pairs(most=3)).values()
    assert samples.of("forward") == (1.0,) * 3
    assert samples.of("backward") == (3.0,) * 3
    assert samples.of("forward+backward") == (4.0,) * 3


@pytest.mark.parametrize(
    ("most", "seconds", "pair_seconds", "number"),
    [
        (30, 60.0, 1.0, 30),
        (30, 15.0, 1.0, 15),
        (30, 15.0, 100.0, FEWEST_PAIRS),
        (3, 15.0, 100.0, 3),
        (7, float("inf"), 1e9, 7),
    ],
)
def test_slow_shapes_get_fewer_pairs_but_enough(
    most: int, seconds: float, pair_seconds: float, number: int
) -> None:
    assert Pairs(most=most, seconds=seconds).number(pair_seconds) == number


@pytest.mark.parametrize("change", [{"most": 0}, {"seconds": 0.0}, {"min_seconds": 0.0}], ids=str)
def test_no_time_at_all_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        Pairs(**change)  # type: ignore[arg-type]


def test_views_are_the_same_every_time_and_clear_of_the_hinge() -> None:
    x, y = draw_views(64, 40, torch.float32, CPU)
    assert x.requires_grad
    assert y.requires_grad
    assert torch.equal(x, draw_views(64, 40, torch.float32, CPU)[0])
    assert not torch.equal(x, y)
    for z in (x, y):
        assert z.std(dim=0)[::2].max() < 0.99
        assert z.std(dim=0)[1::2].min() > 1.01


def test_records_say_what_ran() -> None:
    samples = Samples(calls=3, forward=[0.1, 0.2], backward=[0.3, 0.5])
    x, _ = _views(4, 8)
    forward, both = timing_records(PROVIDERS["auto"], samples, x, ("forward", "forward+backward"), 3)
    assert (forward.phase, forward.seconds) == ("forward", (0.1, 0.2))
    assert (both.phase, both.seconds) == ("forward+backward", (0.4, 0.7))
    assert (both.provider, both.form, both.backend, both.n, both.d) == ("auto", "gram", "torch", 4, 8)
    assert (both.dtype, both.device, both.calls_per_sample, both.round) == ("float32", "cpu", 3, 3)
    assert LossTiming.model_validate_json(both.model_dump_json()) == both


def _timing(provider: str, seconds: tuple[float, ...], round_number: int = 0) -> LossTiming:
    return LossTiming(
        provider=provider, form="gram", backend="torch", dtype="float32", device="cpu", n=4, d=8,
        seconds=seconds, calls_per_sample=1, pid=1, round=round_number,
    )  # fmt: skip


def _times(timings: list[LossTiming]) -> Interval | None:
    return times_as_fast(timings, "gram", "official", PLACE, "forward+backward")


def test_speed_is_the_others_time_over_its_own_pair_by_pair() -> None:
    timings = [_timing("official", (0.4, 0.8, 0.2)), _timing("gram", (0.1, 0.2, 0.05))]
    assert _times(timings) == Interval(
        estimate=pytest.approx(4), low=pytest.approx(4), high=pytest.approx(4), samples=3
    )
    seconds = seconds_of(timings, "gram", PLACE, "forward+backward")
    assert seconds is not None
    assert seconds.estimate == 0.1


def test_runs_pair_within_themselves_only() -> None:
    """A second run on a machine half as fast, of which the baseline's timing is missing or shorter."""
    timings = [_timing("official", (0.4, 0.4)), _timing("gram", (0.1, 0.1)), _timing("gram", (0.2, 0.2), 1)]
    assert _times(timings) is not None
    assert _times(timings).samples == 2  # type: ignore[union-attr]
    assert _times([*timings, _timing("official", (0.8,), 1)]).samples == 2  # type: ignore[union-attr]
    assert _times([*timings, _timing("official", (0.8, 0.8), 1)]).estimate == pytest.approx(4)  # type: ignore[union-attr]
    assert _times(timings[1:]) is None
