"""What is read of record files, and what is said of the rest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.compare import throughput_ratio
from bench.record import Throughput
from reports.load import load_report
from vicreg_fast.errors import RecordError


def test_every_record_of_a_run_is_there(full_run) -> None:
    report = full_run.report()
    assert len(report.environments) == 1
    assert [scenario.name for scenario in report.plan.scenarios] == ["baseline", "tuned", "fast"]
    assert (len(report.throughputs), len(report.memories)) == (3 * 2 * 8, 3)
    assert len(report.accuracies) == 3 * 3 + 4
    assert report.problems == ()


def test_what_a_report_holds_loads_as_the_same_report(full_run, tmp_path: Path) -> None:
    report = full_run.report()
    copy = tmp_path / "copy.jsonl"
    copy.write_text("".join(record.model_dump_json() + "\n" for record in report.records), encoding="utf-8")
    assert load_report([copy]).records == report.records


@pytest.mark.parametrize("kind", ["environment", "plan"])
def test_a_file_without_environment_or_plan_is_refused_in_one_line(new_run, kind: str) -> None:
    path = new_run().write()
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != kind]
    path.write_text("\n".join(lines))
    with pytest.raises(RecordError, match=rf"run-1.jsonl: no {kind} record; give the whole file") as caught:
        load_report([path])
    assert "\n" not in str(caught.value)


def test_a_file_of_a_newer_schema_alone_is_refused_with_that_reason(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text('{"kind": "environment", "schema_version": 9}\n')
    with pytest.raises(RecordError, match="schema 9 is newer than this version reads"):
        load_report([path])


def test_no_file_a_missing_file_and_a_file_twice_are_refused(new_run, tmp_path: Path) -> None:
    path = new_run().write()
    with pytest.raises(RecordError, match="no record file given"):
        load_report([])
    with pytest.raises(RecordError, match=r"nothing.jsonl: cannot be read \(No such file"):
        load_report([tmp_path / "nothing.jsonl"])
    with pytest.raises(RecordError, match="given twice"):
        load_report([path, path.parent / "." / path.name])


def test_torn_and_newer_lines_are_problems_and_the_rest_is_kept(new_run) -> None:
    run = new_run().throughput("fast", [100.0, 101.0])
    run.line('{"kind": "hologram", "schema_version": 2}\n').line('{"kind": "throughput", "scen')
    report = run.report()
    assert len(report.throughputs) == 2
    assert report.problems == (
        "run-1.jsonl, line 5: schema 2 is newer than this version reads (1); upgrade vicreg-fast",
        "run-1.jsonl, line 6: not a whole JSON object (a torn write?)",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"window_seconds": [0.0, 1.0]}, "a window of no time at all"),
        ({"window_seconds": [float("nan"), 1.0]}, "is not a time"),
        ({"window_seconds": [-1.0, 1.0]}, "a window of -1.0 seconds is not a time"),
        ({"window_seconds": [float("inf"), 1.0]}, "is not a time"),
        ({"window_seconds": [1e-300, 1.0]}, "is no speed that could have been measured"),
        ({"window_seconds": []}, "no window was timed"),
        ({"batch_size": 10**400}, "a window of no time at all"),
        ({"loader_wait_seconds": [float("nan"), 0.0]}, "a loader wait is not a time"),
        ({"loader_wait_seconds": [0.1]}, "1 loader waits for 2 windows"),
    ],
)
def test_a_throughput_that_cannot_be_is_left_out_and_named(new_run, change: dict, reason: str) -> None:
    run = new_run().throughput("fast", [100.0])
    broken = json.loads(run.records[0].model_dump_json()) | {"round": 1} | change
    report = run.line(json.dumps(broken) + "\n").report()
    assert [record.round for record in report.throughputs] == [0]
    assert len(report.problems) == 1
    assert reason in report.problems[0]
    assert report.problems[0].startswith("run-1.jsonl: throughput of fast, end-to-end, round 1")


@pytest.mark.parametrize("value", [float("nan"), 1.2, -0.1])
def test_an_accuracy_out_of_range_is_left_out_and_named(new_run, value: float) -> None:
    run = new_run().accuracy("fast", [61.0])
    broken = json.loads(run.records[0].model_dump_json()) | {"seed": 7, "linear_top1": value}
    report = run.line(json.dumps(broken) + "\n").report()
    assert [accuracy.seed for accuracy in report.accuracies] == [0]
    assert "accuracy of fast, seed 7: linear_top1" in report.problems[0]


def test_sizes_that_no_machine_has_are_named(new_run) -> None:
    run = new_run().memory("fast", 1.0)
    broken = json.loads(run.records[0].model_dump_json()) | {"host_peak_bytes": 10**400}
    report = run.line(json.dumps(broken) + "\n").report()
    assert len(report.memories) == 1
    assert report.problems == (
        "run-1.jsonl: memory of fast: a number of bytes that no machine has; left out",
    )
    other = new_run()
    other.environment["memory_bytes"] = 10**400
    with pytest.raises(RecordError, match=r"no environment record .*a number of bytes that no machine has"):
        other.report()


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), -1.0])
def test_a_margin_that_is_none_is_refused_in_one_line(new_run, margin: float) -> None:
    path = new_run(accuracy_margin_points=2.5).write()
    path.write_text(path.read_text().replace("2.5", json.dumps(margin)))
    with pytest.raises(
        RecordError, match=r"no plan record \(.*plan: a margin of .* points of accuracy"
    ) as caught:
        load_report([path])
    assert "\n" not in str(caught.value)


def test_a_measurement_made_twice_counts_once_and_is_named(new_run) -> None:
    report = new_run().throughput("fast", [100.0]).throughput("fast", [120.0]).report()
    (kept,) = report.throughputs
    assert kept.pairs_per_second[0] == pytest.approx(120.0)
    assert report.problems == (
        "throughput of fast, end-to-end, round 0: measured twice; the later measurement counts",
    )


def test_two_runs_pair_only_within_themselves(new_run) -> None:
    """A run on a machine half as fast: across runs, some ratios would be 1 or 4; within, all are 2."""
    first = new_run(rounds=3).throughput("baseline", [100.0] * 3).throughput("fast", [200.0] * 3).write()
    second = new_run(rounds=3).throughput("baseline", [50.0] * 3).throughput("fast", [100.0] * 2).write()
    report = load_report([first, second])
    ratio = throughput_ratio(report.throughputs, "baseline", "fast", "end-to-end")
    assert ratio is not None
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))
    assert ratio.samples == 5
    assert report.plan.rounds == 6


def test_a_run_appended_to_a_file_is_numbered_on(new_run: Callable) -> None:
    path = new_run().throughput("fast", [100.0, 101.0]).write()
    again = new_run().throughput("fast", [102.0]).write()
    path.write_text(path.read_text() + again.read_text())
    assert [t.round for t in load_report([path]).throughputs] == [0, 1, 2]


def test_files_of_different_work_are_refused_with_the_field_that_differs(new_run) -> None:
    first, second = new_run().write(), new_run(recipe_fingerprint="999").write()
    with pytest.raises(
        RecordError, match=r"run-2.jsonl: its plan's recipe_fingerprint \(999\) is not that of run-1"
    ):
        load_report([first, second])


def test_unlike_machines_and_unlike_batches_are_named(new_run) -> None:
    first, other = new_run().throughput("baseline", [100.0]), new_run().throughput("baseline", [100.0])
    other.environment["processor"] = "Other CPU"
    record = other.records[0]
    assert isinstance(record, Throughput)
    other.records[0] = record.model_copy(update={"batch_size": 128})
    problems = load_report([first.write(), other.write()]).problems
    assert problems[0].startswith("the runs' environments differ in processor")
    assert "128 × 32 px, 256 × 32 px" in problems[1]
