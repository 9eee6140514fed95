"""`bench loss` as a whole, at shapes that take no time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from bench import loss_bench, loss_memory, loss_speed
from bench.loss_bench import LossBench, LossBenchRun
from bench.loss_providers import PROVIDERS, LossProvider, choose_providers
from bench.loss_record import PHASES, LossComparison, LossFloor, LossGate, LossMemory, LossTiming
from bench.loss_speed import Pairs
from bench.record import Failure
from bench.rivals import official_loss
from bench.roofline import measure_ceiling
from tests.clock import Clock

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's ceilings from a small product and a small copy: seconds saved in every test."""
    small = partial(measure_ceiling, seconds=1e-6, copied_bytes=2**16)
    monkeypatch.setattr(loss_bench, "measure_ceiling", small)


def _run(*providers: tuple[LossProvider, str | None], **changes: Any) -> tuple[LossBenchRun, list[Any]]:
    records: list[Any] = []
    fields: dict[str, Any] = {
        "providers": providers, "shapes": ((8, 12),), "dtypes": (torch.float32,), "device": CPU,
        "pairs": Pairs(most=2, min_seconds=1e-9), "command": "vicreg-fast bench loss",
    }  # fmt: skip
    run = LossBenchRun(LossBench(**{**fields, **changes}), records.append, lambda stage, done, total: None)
    run.run()
    return run, records


def _of(records: list[Any], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def test_everything_is_measured_at_every_dtype_and_shape() -> None:
    names = ("official", "solo-learn", "augwester", "auto", "gram", "covariance")
    run, records = _run(
        *choose_providers(names, CPU, (torch.float32,)),
        shapes=((8, 12), (12, 8)),
        dtypes=(torch.float32, torch.bfloat16),
    )
    assert (run.refused, run.failed) == ([], [])
    assert isinstance(records[0], LossComparison)
    assert [s.name for s in records[0].subjects] == list(names)
    places = {("float32", 8, 12), ("float32", 12, 8), ("bfloat16", 8, 12), ("bfloat16", 12, 8)}
    for kind, each in ((LossGate, names), (LossMemory, names), (LossTiming, names * len(PHASES))):
        found = _of(records, kind)
        assert {(r.dtype, r.n, r.d) for r in found} == places
        assert sorted(r.provider for r in found) == sorted(each * len(places))
    assert {(f.dtype, f.n, f.d, f.phase) for f in _of(records, LossFloor)} == {
        (*place, phase) for place in places for phase in PHASES
    }
    timings = _of(records, LossTiming)
    assert {len(t.seconds) for t in timings} == {2}
    assert {t.form for t in timings if t.provider == "auto" and t.n == 8} == {"gram"}


def test_what_cannot_be_measured_is_in_the_record_and_not_called() -> None:
    def never() -> Any:
        raise AssertionError("built all the same")

    absent = LossProvider(name="absent", source="nowhere", build=never)
    _, records = _run((PROVIDERS["official"], None), (absent, "the package is not installed"))
    assert {s.name: s.obstacle for s in records[0].subjects} == {
        "official": None,
        "absent": "the package is not installed",
    }
    assert {t.provider for t in _of(records, LossTiming)} == {"official"}


def test_a_loss_that_is_not_the_one_it_says_is_recorded_and_not_timed() -> None:
    wrong = LossProvider(
        name="wrong", source="a test", build=lambda: lambda x, y: official_loss(x, y, covariance_weight=2.0)
    )
    run, records = _run((PROVIDERS["official"], None), (wrong, None))
    assert run.refused == ["wrong at 8 × 12, float32"]
    assert {g.provider: g.passed for g in _of(records, LossGate)} == {"official": True, "wrong": False}
    assert {t.provider for t in _of(records, LossTiming)} == {"official"}
    assert {m.provider for m in _of(records, LossMemory)} == {"official"}


def test_a_loss_that_raises_is_recorded_without_a_path_and_the_others_go_on() -> None:
    def raises(x: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("\ncannot load /some" + "where/else/lib.so: no such file\nand more")

    broken = LossProvider(name="broken", source="a test", build=lambda: raises)
    run, records = _run((broken, None), (PROVIDERS["gram"], None))
    (failure,) = _of(records, Failure)
    assert (failure.scenario, failure.stage) == ("broken", "gate, 8 × 12, float32")
    assert failure.message == "cannot load lib.so: no such file"
    assert run.failed == ["broken in gate, 8 × 12, float32: cannot load lib.so: no such file"]
    assert {t.provider for t in _of(records, LossTiming)} == {"gram"}


def test_a_first_line_that_ends_with_a_colon_is_told_with_the_second() -> None:
    def raises(x: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("backend='inductor' raised:\nCppCompileError: no compiler\nmore")

    broken = LossProvider(name="broken", source="a test", build=lambda: raises)
    _, records = _run((broken, None))
    (failure,) = _of(records, Failure)
    assert failure.message == "backend='inductor' raised: CppCompileError: no compiler"


def test_only_the_phases_asked_for_are_recorded() -> None:
    _, records = _run((PROVIDERS["gram"], None), phases=("backward",))
    assert [t.phase for t in _of(records, LossTiming)] == ["backward"]
    assert [f.phase for f in _of(records, LossFloor)] == ["backward"]


def test_a_profiler_that_is_slow_to_begin_makes_no_window_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's is in a process's first: longer than many windows, of a call that takes part of one."""
    clock = Clock()

    @contextmanager
    def slow(*args: Any, **kwargs: Any) -> Iterator[profile]:
        clock.sleep(600.0)
        with profile(*args, **kwargs) as profiled:
            yield profiled

    def loss(x: Tensor, y: Tensor) -> Tensor:
        clock.sleep(1.0)
        return official_loss(x, y)

    for module in (loss_memory, loss_speed):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(loss_memory, "profile", slow)
    steady = LossProvider(name="steady", source="a test", build=lambda: loss)
    _, records = _run((steady, None), pairs=Pairs(most=1, min_seconds=10.0))
    timings = _of(records, LossTiming)
    assert len(timings) == len(PHASES)
    assert {timing.calls_per_sample for timing in timings} == {10}


def test_a_graphs_memory_is_that_of_its_capture() -> None:
    """What replays hold is allocated before them: the call that is followed has to be a first one."""

    class Captures:
        def __init__(self) -> None:
            self.held: Tensor | None = None

        def __call__(self, x: Tensor, y: Tensor) -> Tensor:
            if self.held is None:
                self.held = torch.zeros(100_000)
            return official_loss(x, y)

    plain = LossProvider(name="plain", source="a test", build=Captures)
    graph = replace(plain, name="graph", graphed=True)
    run, records = _run((plain, None), (graph, None))
    assert (run.refused, run.failed) == ([], [])
    peaks = {m.provider: m.peak_bytes for m in _of(records, LossMemory)}
    assert peaks["graph"] - peaks["plain"] == 400_000


def test_caches_are_flushed_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(loss_bench, "CacheFlush", lambda device: lambda: flushed.append(device))
    _, records = _run((PROVIDERS["gram"], None))
    assert records[0].caches == "warm"
    assert not flushed
    _, records = _run((PROVIDERS["gram"], None), cold=True)
    assert records[0].caches == "cold"
    assert len(flushed) == 2 + sum(t.calls_per_sample for t in _of(records, LossTiming)[:1]) * 2


@pytest.mark.gpu
def test_everything_is_measured_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    names = ("official", "solo-learn", "augwester", "auto", "auto-graphed", "gram", "covariance")
    names += ("gram-triton",)
    cuda, dtypes = torch.device("cuda"), (torch.float32, torch.bfloat16)
    run, records = _run(*choose_providers(names, cuda, dtypes), device=cuda, dtypes=dtypes)
    assert (run.refused, run.failed) == ([], [])
    timings = _of(records, LossTiming)
    assert {(t.provider, t.dtype) for t in timings} == {
        (n, d) for n in names for d in ("float32", "bfloat16")
    }
    assert all(min(t.seconds) > 0 for t in timings)
    assert all(m.peak_bytes >= 2 * 8 * 12 * 2 for m in _of(records, LossMemory))


@pytest.mark.slow
def test_the_compiled_official_loss_is_checked_and_measured() -> None:
    (compiled,) = choose_providers(None, CPU, (torch.float32,))[1:2]
    provider, why = compiled
    if why is not None:
        pytest.skip(why)
    run, records = _run((PROVIDERS["official"], None), (provider, None))
    assert (run.refused, run.failed) == ([], [])
    assert {t.provider for t in _of(records, LossTiming)} == {"official", "official-compiled"}
    peaks = {m.provider: m.peak_bytes for m in _of(records, LossMemory)}
    # What compiled code allocates is seen: two gradients at the least.
    assert peaks["official-compiled"] >= 2 * 8 * 12 * 4
