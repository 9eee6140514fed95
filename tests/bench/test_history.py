"""Histories: which stored measurements make a series, and what is left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.history import History, Series, load_history
from bench.history_point import Measured, RunInfo, median_bounds, point_of, utc
from bench.record import Environment, LossComparison, LossTiming, Plan, Record, Throughput
from bench.regression_record import RegressionPlan, RegressionSample
from vicreg_fast.errors import RecordError

CASE = "gram-256x2048-float32"
DAYS = [f"2026-01-{day:02d}T12:00:00+00:00" for day in range(1, 29)]
NAIVE = 0.04


def written(path: Path, *records: Record) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # As RecordWriter writes them, NaN and all, without its fsync.
    lines = [json.dumps(record.model_dump(mode="json")) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def environment(day: int = 0, **changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "processor": "Test CPU", "cores": 8, "memory_bytes": 2**35, "system": "Linux 6.1",
        "versions": {"torch": "2.15.0"}, "commit": f"{day:040d}",
    }  # fmt: skip
    return Environment(time=DAYS[day], **{**fields, **changes})


def regression(ratio: float, head: str | None = None, case: str = CASE, **changes: Any) -> list[Record]:
    """A run whose head takes `ratio` times the naive loss's time, in seven processes."""
    fields: dict[str, Any] = {
        "command": "", "against": "main", "source": "revision", "base_commit": None, "head_commit": head,
        "base_fingerprint": {}, "head_fingerprint": {}, "base_cases": (case,), "head_cases": (case,),
        "device": "cpu", "threads": 2, "rounds": 7, "pairs": 3, "least_tau": 0.03,
    }  # fmt: skip
    samples = [
        RegressionSample(
            case=case, side=side, round=number, position=0, attempt=0, pid=1, calls=1, naive_calls=1,
            seconds=tuple(NAIVE * scale * (1 + number / 100) for _ in range(3)), naive_seconds=(NAIVE,) * 3,
        )
        for side, scale in (("base", 7.0), ("head", ratio), ("control", 7.0))
        for number in range(-3, 4)
    ]  # fmt: skip
    return [RegressionPlan(**{**fields, **changes}), *samples]


def values(series: Series) -> list[float]:
    return [point.value for point in series.points]


def only(history: History) -> Series:
    (series,) = history.series
    return series


def test_a_series_is_in_order_of_time_with_intervals_and_commits(tmp_path: Path) -> None:
    for day in (2, 0, 1):
        written(tmp_path / f"run-{day}" / "records.jsonl", environment(day), *regression(1 + day))
    series = only(load_history([tmp_path]))
    assert (series.case, series.unit, series.setting) == (CASE, "÷ naive loss", "cpu, 2 threads")
    assert series.machine == "Test CPU, 8 cores, no GPU"
    assert values(series) == pytest.approx([1, 2, 3])
    assert [point.run.revision for point in series.points] == ["0" * 10] * 3
    assert [point.run.commit for point in series.points] == [f"{day:040d}" for day in range(3)]
    first = series.points[0]
    assert (first.low, first.high, first.samples) == (pytest.approx(0.97), pytest.approx(1.03), 7)
    assert first.run.file == "run-0/records.jsonl"


def test_a_step_is_a_change_with_its_commits_and_what_else_changed(tmp_path: Path) -> None:
    for day in range(12):
        slow = day >= 7
        where = environment(day, versions={"torch": "2.16.0" if slow else "2.15.0"})
        ratio = (1.1 if slow else 1.0) * (1 + 0.01 * (day % 3))
        written(tmp_path / f"{day}.jsonl", where, *regression(ratio, head=f"{day:x}" * 40))
    series = only(load_history([tmp_path]))
    (change,) = series.changes
    assert change.index == 7
    assert change.ratio == pytest.approx(1.1, rel=0.02)
    assert series.slower(change)
    assert series.points[change.index - 1].run.revision == "6" * 10
    assert series.points[change.index].run.revision == "7" * 10
    assert series.also_changed(change) == {"torch": ("2.15.0", "2.16.0")}
    assert series.slowed_recently(5)
    assert not series.slowed_recently(4)


def test_machines_and_settings_are_never_joined(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", environment(0), *regression(1))
    written(tmp_path / "b.jsonl", environment(1, processor="Other CPU"), *regression(1))
    written(tmp_path / "c.jsonl", environment(2, gpu="Test GPU", gpu_count=2), *regression(1))
    written(tmp_path / "d.jsonl", environment(3), *regression(1, threads=1))
    history = load_history([tmp_path])
    assert history.series == ()
    assert len(history.single) == 4
    assert f"{CASE} (÷ naive loss; cpu, 2 threads; Test CPU, 8 cores, 2 × Test GPU)" in history.single


def test_losses_are_ratios_where_their_run_holds_the_official_one(tmp_path: Path) -> None:
    place: dict[str, Any] = {
        "form": "gram", "backend": "torch", "dtype": "float32", "device": "cpu", "n": 8, "d": 16,
        "calls_per_sample": 1, "pid": 1, "round": 0,
    }  # fmt: skip
    asked = LossComparison(
        command="", device="cpu", dtypes=(), shapes=(), phases=(), pairs=3, threads=1, baseline="official",
        subjects=(),
    )  # fmt: skip
    for day in range(2):
        pair = [LossTiming(provider=name, seconds=seconds, **place)
                for name, seconds in (("official", (1.0, 2.0, 4.0)), ("auto", (0.5, 1.0, 1.0)))]  # fmt: skip
        alone = LossTiming(provider="gram", seconds=(0.25, 0.25), **place)
        written(tmp_path / f"{day}.jsonl", environment(day), asked, *pair, alone)
    auto, gram, official = load_history([tmp_path]).series
    assert (auto.case, auto.unit) == ("auto, forward+backward, 8 × 16, float32", "÷ official")
    assert values(auto) == [0.5, 0.5]
    assert auto.setting == "cpu, 1 thread"
    assert (gram.unit, values(gram)) == ("s", [0.25, 0.25])
    assert (official.unit, values(official)) == ("s", [2.0, 2.0])


def test_throughput_is_paired_by_round_and_more_is_faster(tmp_path: Path) -> None:
    for day, rate in ((0, 400.0), (1, 200.0)):
        plan = Plan(
            command="", device="cpu", data="digits", recipe={}, recipe_fingerprint="abc", scenarios=(),
            baseline="baseline", contender="fast", rounds=2,
        )  # fmt: skip
        rounds = [
            Throughput(
                scenario=name, mode="end-to-end", round=number, position=0, pid=1, batch_size=10,
                image_size=32, steps_per_window=1, window_seconds=(10 * (1 + number) / speed,),
            )
            for name, speed in (("baseline", 100.0), ("fast", rate))
            for number in range(2)
        ]  # fmt: skip
        written(tmp_path / f"{day}.jsonl", environment(day), plan, *rounds)
    baseline, fast = load_history([tmp_path]).series
    assert (baseline.case, baseline.unit, values(baseline)) == (
        "baseline, end-to-end",
        "pairs/s",
        [75.0, 75.0],
    )
    assert (fast.unit, values(fast)) == ("× baseline", pytest.approx([4.0, 2.0]))
    assert fast.setting == "cpu, digits, recipe abc"
    assert not fast.larger_is_slower


def pytest_json(path: Path, day: int, node: str, **stats: Any) -> Path:
    document = {
        "machine_info": {"node": node, "cpu": {"brand_raw": "Test CPU", "count": 8}, "system": "Linux"},
        "commit_info": {"id": f"{day:040d}", "dirty": day == 1},
        "datetime": DAYS[day],
        "version": "5.3.1",
        "benchmarks": [{"fullname": "test_loss.py::test_gram", "stats": {"min": 0.1, **stats}}],
    }
    path.write_text(json.dumps(document, indent=4), encoding="utf-8")
    return path


def test_files_of_pytest_benchmark_are_read_with_and_without_their_samples(tmp_path: Path) -> None:
    data = [0.1 + 0.01 * number for number in range(9)]
    a = pytest_json(tmp_path / "a.json", 0, "runner-1", median=0.14, iqr=0.04, rounds=9, data=data)
    b = pytest_json(tmp_path / "b.json", 1, "runner-2", median=0.14, iqr=0.04, rounds=4)
    series = only(load_history([a, b]))
    assert (series.case, series.unit, series.machine) == ("test_loss.py::test_gram", "s", "Test CPU, 8 cores")
    with_samples, without = series.points
    assert (with_samples.value, with_samples.samples) == (pytest.approx(0.14), 9)
    assert (with_samples.low, with_samples.high) == (pytest.approx(0.11), pytest.approx(0.17))
    assert (without.low, without.high) == (pytest.approx(0.14 - 0.0314), pytest.approx(0.14 + 0.0314))
    assert without.run.revision.endswith("+")


def test_benchmarks_of_our_suite_are_ratios_whatever_calls_a_time_is_of(tmp_path: Path) -> None:
    where = {"device": "cuda", "gpu": "Test GPU", "threads": "1"}
    for day, calls in ((0, 10), (1, 20)):
        path = pytest_json(tmp_path / f"{day}.json", day, "", median=1.0, iqr=0.0, rounds=1)
        document = json.loads(path.read_text(encoding="utf-8"))
        info = {"case": CASE, "calls": calls, "other_calls": 5, "fingerprint": where, "pid": 1}
        document["benchmarks"] = [
            {
                "fullname": f"test_loss_kernels.py::{subject}",
                "stats": {"median": 1.0, "iqr": 0.0, "rounds": 2, "data": [calls * 0.01, calls * 0.01]},
                "extra_info": {**info, "subject": subject, "beside_seconds": [0.04, 0.04]},
            }
            for subject in ("case", "naive")
        ]
        path.write_text(json.dumps(document), encoding="utf-8")
    series = only(load_history([tmp_path]))
    assert (series.case, series.unit) == (CASE, "÷ naive loss")
    assert series.setting == "pytest-benchmark, cuda, threads 1"
    assert series.machine == "Test CPU, 8 cores, Test GPU"
    assert values(series) == pytest.approx([0.25, 0.25])


def test_what_is_broken_is_left_out_and_said(tmp_path: Path) -> None:
    good = [written(tmp_path / f"{day}.jsonl", environment(day), *regression(1)) for day in range(2)]
    with good[1].open("a", encoding="utf-8") as file:
        file.write('{"kind": "regr\n{"schema_version": 7}\n')
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(good[0].read_bytes())
    records = regression(1)
    bad = records[-8].model_copy(update={"seconds": (float("nan"), 1.0, 1.0)})
    assert isinstance(bad, RegressionSample)
    assert bad.side == "head"
    written(tmp_path / "nan.jsonl", environment(2), *records[:-8], bad)
    written(tmp_path / "late.jsonl", *records, environment(3))
    written(tmp_path / "when.jsonl", environment(4).model_copy(update={"time": "noon"}), *records)
    pytest_json(tmp_path / "zero.json", 0, "", median=0.0, iqr=0.0, rounds=1)
    (tmp_path / "package.json").write_text('{"name": "other"}')
    (tmp_path / "torn.json").write_text('{"benchmarks": [')
    (tmp_path / "old.json").write_text('{"benchmarks": [], "datetime": "2026"}')
    (tmp_path / "pretraining.jsonl").write_text(environment(5).model_dump_json())
    history = load_history([tmp_path, good[0]])
    assert values(only(history)) == [1.0, 1.0]
    said = "\n".join(history.left_out)
    for words in (
        "1.jsonl, line 24: not a whole JSON object (a torn write?); and 1 more lines of it",
        f"copy.jsonl: {CASE} is that of ",
        f"nan.jsonl: {CASE}: nan is no measurement; left out",
        "late.jsonl: 22 records before any environment",
        "when.jsonl: 'noon' is no time in ISO 8601",
        "zero.json: test_loss.py::test_gram: 0.0 is no measurement",
        "old.json: not a file of pytest-benchmark (machine_info: Field required)",
        "pretraining.jsonl: holds no time of a loss",
        "0.jsonl: named twice; counted once",
    ):
        assert words in said, words
    assert "package.json" not in said, "other JSON in a folder is nobody's loss"


def test_nothing_to_measure_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no measurement found; name record files"):
        load_history([tmp_path])
    (tmp_path / "x.jsonl").write_text("nonsense")
    with pytest.raises(RecordError, match=r"not a whole JSON object"):
        load_history([tmp_path])
    with pytest.raises(RecordError, match="cannot be read"):
        load_history([tmp_path / "nowhere.jsonl"])


def test_a_file_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(3):
        written(tmp_path / f"{day}.jsonl", environment(day), *regression(1 + day))
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "1.jsonl":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    history = load_history([tmp_path])
    assert values(only(history)) == pytest.approx([1, 3])
    assert "1.jsonl: cannot be read (Permission denied)" in history.left_out[0]
    with pytest.raises(RecordError, match="Permission denied"):
        load_history([tmp_path / "1.jsonl"])


def test_a_file_of_several_runs_gives_several_points(tmp_path: Path) -> None:
    runs = [record for day in range(3) for record in (environment(day), *regression(1 + day))]
    assert values(only(load_history([written(tmp_path / "all.jsonl", *runs)]))) == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (5, 1), (6, 1), (9, 2), (30, 10), (100, 40)])
def test_the_interval_of_a_median_is_that_of_order_statistics(count: int, rank: int) -> None:
    """Ranks as tabulated for 95 %, the last of them at n = 100."""
    ordered = [float(number) for number in range(1, count + 1)]
    assert median_bounds(ordered) == (rank, count + 1 - rank)


def test_few_rounds_are_summed_up_by_their_samples() -> None:
    run = RunInfo(
        time=utc("2026-01-01T00:00:00"), machine="", commit=None, uncommitted=False, conditions={}, file=""
    )
    few = point_of(run, Measured(case="", setting="", unit="s", groups=[[1.0, 2.0], [3.0, 40.0, 5.0]]))
    assert (few.value, few.low, few.high, few.samples) == (3.0, 1.0, 40.0, 5)
    many = point_of(run, Measured(case="", setting="", unit="s", groups=[[n, n, 99.0] for n in range(1, 8)]))
    assert (many.value, many.samples) == (4.0, 7)
    assert run.revision == "unknown"
    with pytest.raises(ValueError, match="no value"):
        point_of(run, Measured(case="", setting="", unit="s", groups=[[]]))
