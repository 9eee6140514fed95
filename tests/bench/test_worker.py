"""What a scenario's process answers, on a clock that only its parts move."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import worker
from bench.limits_record import StepWork
from bench.orders import Order, Setup
from bench.timing import Windows
from vicreg_fast.config import load_recipe

BUILD, FIRST_BATCH, FIRST_STEP, WINDOW = 3.0, 2.0, 4.0, 100.0


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker whose trainer and timer only take their time."""
    now = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Timer:
        cached = ()

        def __init__(self, *_: Any) -> None:
            pass_time(FIRST_BATCH)

        def first_step(self) -> None:
            pass_time(FIRST_STEP)

        def windows(self, *_: Any, **__: Any) -> Windows:
            pass_time(WINDOW)
            return Windows(steps=1, seconds=(WINDOW,), loader_wait_seconds=(0.0,))

        def close(self) -> None:
            pass

    def trainer(*_: Any, **__: Any) -> SimpleNamespace:
        pass_time(BUILD)
        return SimpleNamespace(train_step=None, close=lambda: None)

    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(worker, "open_meter", lambda *_: (None, "not asked"))
    monkeypatch.setattr(worker, "Trainer", trainer)
    monkeypatch.setattr(worker, "StepTimer", Timer)
    monkeypatch.setattr(worker, "load_manifest", lambda *_, **__: None)
    monkeypatch.setattr(worker, "step_work", lambda *_: StepWork.model_construct(kind="step-work"))
    setup = Setup(scenario="baseline", recipe=load_recipe("smoke"), data=Path("nowhere"), device="cpu")
    return worker._Worker(setup, tell=lambda _: None)


@pytest.mark.parametrize("first", ["memory", "throughput", "work"])
def test_the_first_measurement_of_a_step_brings_what_it_took_to_get_there(first: Any, scenario: Any) -> None:
    assert scenario.answer(Order(action="ceilings")).records == (), "no step is needed for these"
    startup, measured = scenario.answer(Order(action=first)).records
    assert (startup.kind, startup.scenario) == ("startup", "baseline")
    assert startup.seconds == BUILD + FIRST_BATCH + FIRST_STEP
    assert measured.kind == {"work": "step-work"}.get(first, first)
    later = [scenario.answer(Order(action=again)).records for again in ("memory", "throughput", "work")]
    assert [[record.kind for record in records] for records in later] == [
        ["memory"],
        ["throughput"],
        ["step-work"],
    ]
    scenario.close()
    assert [record.kind for record in scenario.answer(Order(action="throughput")).records] == ["throughput"]
