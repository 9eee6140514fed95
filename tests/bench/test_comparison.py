"""Interleaved processes: what a worker that dies leaves behind, and what its neighbours go on to do."""

import os
import signal
from pathlib import Path

import pytest

from bench.comparison import Comparison, ComparisonRun, Sampling, scenarios_to_compare
from bench.environment import find_gpus, measure_environment, usable_cores
from bench.memory import PeakMemory, host_bytes
from bench.record import Accuracy, Failure, Memory, RecordWriter, Throughput, read_records
from pipelines.builtin_set import make_builtin_set
from vicreg_fast.config import load_recipe

TINY = ["width=4", "image_size=32", "expander=16-16", "batch_size=8", "epochs=1", "workers=1"]


def comparison(data: Path, **changes: object) -> Comparison:
    fields: dict[str, object] = {
        "scenarios": ("baseline", "fast"),
        "recipe": load_recipe("smoke", TINY),
        "data": data,
        "data_description": "a tiny set",
        "device": "cpu",
        "command": "test",
        "metrics": ("throughput",),
        "rounds": 3,
        "sampling": Sampling(steps=1, count=2),
        "seeds": (0,),
    }
    return Comparison(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_worker_killed_in_mid_round_is_reported_and_the_other_goes_on(tmp_path: Path) -> None:
    data = make_builtin_set(tmp_path / "set", train=24, test=10, size=(32, 32))
    writer = RecordWriter(tmp_path / "records.jsonl")
    killed: list[int] = []

    def kill_baseline_in_round_2(stage: str, done: int, total: int) -> None:
        assert done < total
        if stage == "baseline: round 2 of 3, end-to-end":
            written, _ = read_records(writer.path)
            pids = [r.pid for r in written if isinstance(r, Throughput) and r.scenario == "baseline"]
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    with ComparisonRun(comparison(data), writer, kill_baseline_in_round_2) as run:
        run.run()
    writer.close()
    records, problems = read_records(writer.path)
    assert problems == []
    assert killed
    failures = [r for r in records if isinstance(r, Failure)]
    assert [(f.scenario, f.stage) for f in failures] == [("baseline", "round 2 of 3, end-to-end")]
    assert "SIGKILL" in failures[0].message
    assert run.failures == failures
    rounds = {
        name: {r.round for r in records if isinstance(r, Throughput) and r.scenario == name}
        for name in ("baseline", "fast")
    }
    assert rounds == {"baseline": {0}, "fast": {0, 1, 2}}, "what was measured is kept, and the other goes on"


@pytest.mark.slow
def test_a_scenario_that_cannot_be_evaluated_is_reported_in_one_line(tmp_path: Path) -> None:
    """Without a test split there is no accuracy; memory is measured before it all the same."""
    data = make_builtin_set(tmp_path / "set", train=24, test=0, size=(32, 32))
    writer = RecordWriter(tmp_path / "records.jsonl")
    with ComparisonRun(
        comparison(data, metrics=("memory", "accuracy"), scenarios=("fast",)), writer, lambda *_: None
    ) as run:
        run.run()
    writer.close()
    records, _ = read_records(writer.path)
    memory = [r for r in records if isinstance(r, Memory)]
    assert len(memory) == 1
    assert memory[0].host_peak_bytes > memory[0].host_before_bytes > 50e6
    assert not any(isinstance(r, Accuracy) for r in records)
    assert [failure.stage for failure in run.failures] == ["floors, seed 0", "pretraining, seed 0"]
    assert all("test" in failure.message and "\n" not in failure.message for failure in run.failures)


def test_scenarios_come_baseline_first_and_contender_last() -> None:
    assert scenarios_to_compare(["baseline"]) == ("baseline", "fast")
    assert scenarios_to_compare(["fast", "tuned", "baseline", "tuned"]) == ("tuned", "baseline", "fast")


def test_environment_names_this_machine() -> None:
    record = measure_environment()
    assert record.cores == usable_cores() == len(os.sched_getaffinity(0))
    assert record.versions["torch"].startswith("2.")
    assert "vicreg-fast" in record.versions
    assert (record.gpu is None) == (not find_gpus().names)
    assert record.commit is None or len(record.commit) == 40


def test_peak_memory_sees_what_came_and_went() -> None:
    before = host_bytes()
    with PeakMemory(with_device=False) as peak:
        block = bytearray(os.urandom(1)) * 200_000_000
        del block
    assert peak.host_bytes > before - 50e6
    with PeakMemory(with_device=False) as peak:
        block = bytearray(os.urandom(1)) * 200_000_000
        inside = host_bytes()
    assert inside > before + 150e6
    assert peak.host_bytes >= inside - 50e6
    assert len(block) == 200_000_000
