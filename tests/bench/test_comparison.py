"""Interleaved processes: what a worker that dies leaves behind, and what its neighbours go on to do."""

import multiprocessing
import os
import resource
import signal
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from bench.comparison import Comparison, ComparisonRun, Sampling, scenarios_to_compare
from bench.environment import find_gpus, measure_environment, usable_cores
from bench.memory import PeakMemory, host_bytes
from bench.record import Accuracy, Failure, Memory, Record, RecordWriter, Throughput, read_records
from bench.worker_process import Patience
from pipelines.builtin_set import make_builtin_set
from reports.load import load_report
from reports.verdict import verdict
from tests.bench.fake_worker import serve
from tests.processes import wait_until_gone
from vicreg_fast.config import load_recipe
from vicreg_fast.errors import RecordError

TINY = [
    "width=4",
    "stem=imagenet",
    "image_size=32",
    "expander=16-16",
    "batch_size=8",
    "epochs=1",
    "workers=1",
]


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


@pytest.fixture
def no_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no account here, and their measurement takes a while."""
    monkeypatch.setattr("bench.comparison.measure_ceilings", lambda *_: [])


@pytest.mark.slow
@pytest.mark.usefixtures("no_ceilings")
def test_a_worker_killed_in_mid_round_is_reported_and_the_other_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.comparison.START_METHOD", "forkserver")  # which has imported torch
    data = make_builtin_set(tmp_path / "set", train=24, test=10, size=(32, 32))
    writer = RecordWriter(tmp_path / "records.jsonl")
    loaders: list[int] = []

    def kill_baseline_in_round_2(stage: str, done: int, total: int) -> None:
        assert done < total
        if stage == "baseline: round 2 of 3, end-to-end":
            written, _ = read_records(writer.path)
            pids = [r.pid for r in written if isinstance(r, Throughput) and r.scenario == "baseline"]
            loaders.extend(child.pid for child in psutil.Process(pids[0]).children(recursive=True))
            os.kill(pids[0], signal.SIGKILL)

    sampling = Sampling(modes=("end-to-end",), steps=1, count=1)
    with ComparisonRun(comparison(data, sampling=sampling), writer, kill_baseline_in_round_2) as run:
        run.run()
    writer.close()
    records, problems = read_records(writer.path)
    assert problems == []
    assert loaders
    wait_until_gone(*loaders)  # its loader ends with it
    failures = [r for r in records if isinstance(r, Failure)]
    assert [(f.scenario, f.stage) for f in failures] == [("baseline", "round 2 of 3, end-to-end")]
    assert "SIGKILL" in failures[0].message
    assert run.failures == failures
    assert rounds_of(records) == {"baseline": {0}, "fast": {0, 1, 2}}, "what was measured is kept"


def rounds_of(records: list[Record]) -> dict[str, set[int]]:
    timed = [record for record in records if isinstance(record, Throughput)]
    return {name: {r.round for r in timed if r.scenario == name} for name in {r.scenario for r in timed}}


class ShortWithTuned(Patience):
    """With a worker that answered before."""

    def limit(self, worker: str, kind: str) -> float:
        known = self.first > super().limit(worker, kind)
        return 1.0 if worker == "tuned" and known else self.first


@pytest.mark.usefixtures("no_ceilings")
def test_the_others_go_on_whatever_becomes_of_some(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "records.jsonl")
    trouble = {"plain": (0, "SIGKILL"), "tuned": (1, "hang"), "plain+dali": (2, "fail")}
    asked = comparison(tmp_path, scenarios=("baseline", *trouble, "fast"), metrics=("memory", "throughput"))
    with ComparisonRun(
        asked, writer, lambda *_: None, worker=partial(serve, trouble), patience=ShortWithTuned()
    ) as run:
        run.run()
    writer.close()
    records, _ = read_records(writer.path)
    everything = {0, 1, 2}
    assert rounds_of(records) == {
        "baseline": everything,
        "tuned": {0},
        "plain+dali": {0, 1},
        "fast": everything,
    }
    failures = [record for record in records if isinstance(record, Failure)]
    assert [(failure.scenario, failure.stage) for failure in failures] == [
        ("plain", "round 1 of 3, end-to-end"),
        ("tuned", "round 2 of 3, end-to-end"),
        ("plain+dali", "round 3 of 3, end-to-end"),
    ]
    for failure, words in zip(failures, ("SIGKILL", "it hung", "out of memory in net.py"), strict=True):
        assert words in failure.message
    assert "/some/where/net.py" in run.failures[-1].message, "who started it may see the path"
    caveats = " ".join(verdict(load_report([writer.path])).caveats)
    assert "tuned failed during round 2 of 3, end-to-end" in caveats


@pytest.mark.usefixtures("no_ceilings")
def test_a_disk_that_fills_in_mid_run_keeps_what_was_written(tmp_path: Path) -> None:
    """A limit on file size stands in for the disk."""
    writer = RecordWriter(tmp_path / "records.jsonl")
    before = set(multiprocessing.active_children())
    began: list[BaseProcess] = []

    def fill_in_round_2(stage: str, done: int, total: int) -> None:
        if stage == "fast: round 2 of 3, end-to-end":
            began.extend(set(multiprocessing.active_children()) - before)
            resource.setrlimit(resource.RLIMIT_FSIZE, (writer.path.stat().st_size + 100, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with (
            pytest.raises(RecordError, match=r"cannot be written \(File too large\); records before it"),
            ComparisonRun(comparison(tmp_path), writer, fill_in_round_2, worker=partial(serve, {})) as run,
        ):
            run.run()
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(began) == 2
    assert not any(map(BaseProcess.is_alive, began)), "no worker is left behind"
    report = load_report([writer.path])
    assert [t.round for t in report.throughputs] == [0] * 6
    assert "not a whole JSON object (a torn write?)" in report.problems[0]


@pytest.mark.usefixtures("no_ceilings")
def test_rounds_alternate_their_order_in_every_mode(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "records.jsonl")
    asked = comparison(tmp_path, scenarios=("plain", "baseline", "fast"), rounds=2)
    with ComparisonRun(asked, writer, lambda *_: None, worker=partial(serve, {})) as run:
        run.run()
    writer.close()
    timed = [record for record in read_records(writer.path)[0] if isinstance(record, Throughput)]
    forwards = ["plain", "baseline", "fast"]
    for number, order in ((0, forwards), (1, forwards[::-1])):
        for mode in ("end-to-end", "compute-only", "loader-only"):
            found = [r for r in timed if (r.round, r.mode) == (number, mode)]
            assert [r.scenario for r in found] == order
            assert [r.position for r in found] == [0, 1, 2]


@pytest.mark.slow
def test_a_scenario_that_cannot_be_evaluated_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a test split there is no accuracy; memory is measured before it all the same."""
    monkeypatch.setattr("bench.comparison.START_METHOD", "forkserver")  # which has imported torch
    data = make_builtin_set(tmp_path / "set", train=24, test=0, size=(32, 32))
    writer = RecordWriter(tmp_path / "records.jsonl")
    recipe = load_recipe("smoke", [*TINY, "pipeline=torchvision"])  # DALI would be compiled
    asked = comparison(data, metrics=("memory", "accuracy"), scenarios=("fast",), recipe=recipe)
    with ComparisonRun(asked, writer, lambda *_: None) as run:
        run.run()
    writer.close()
    records, _ = read_records(writer.path)
    memory = [r for r in records if isinstance(r, Memory)]
    assert len(memory) == 1
    assert memory[0].host_peak_bytes > memory[0].host_before_bytes > 50e6
    assert not any(isinstance(r, Accuracy) for r in records)
    assert sorted(failure.stage for failure in run.failures) == ["pretraining, seed 0", "probing, seed 0"]
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
