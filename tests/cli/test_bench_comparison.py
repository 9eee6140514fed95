"""`vicreg-fast bench` from the command line, with workers that measure nothing: options, failures, exit
codes."""

import json
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from bench.comparison import ComparisonRun
from tests.bench.fake_worker import serve
from tests.cli.conftest import TINY_OPTIONS, Run, refused

Bench = Callable[..., CompletedProcess[str]]


@pytest.fixture
def bench(run_here: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """`vicreg-fast bench` into the folder `out`; `trouble` is as in `tests.bench.fake_worker.serve`."""
    monkeypatch.setattr("bench.comparison.measure_ceilings", lambda *_: [])

    def call(*arguments: object, trouble: dict[str, tuple[int, str]] | None = None) -> CompletedProcess[str]:
        defaults: dict[str, Any] = ComparisonRun.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "worker", partial(serve, trouble or {}))
        return run_here("bench", "--data", images, "--out", tmp_path / "out", *TINY_OPTIONS, *arguments)

    return call


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "out" / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def test_any_number_of_scenarios_the_first_being_the_baseline(bench: Bench, tmp_path: Path) -> None:
    names = "baseline,plain,fast-dali"
    done = bench("--compare", names, "--metrics", "throughput", "--full")
    assert done.returncode == 0, done.stderr
    (plan,) = records(tmp_path, "plan")
    assert [scenario["name"] for scenario in plan["scenarios"]] == [*names.split(","), "fast"]
    assert (plan["baseline"], plan["contender"], plan["rounds"], plan["seeds"]) == (
        "baseline",
        "fast",
        10,
        [],
    )
    assert records(tmp_path, "memory") == []
    assert len(records(tmp_path, "throughput")) == 4 * 3 * 10
    assert "vicreg-fast against baseline: 2.5× the speed, " in done.stdout


def test_a_ladder_says_what_each_change_brings(bench: Bench, tmp_path: Path) -> None:
    done = bench("--ladder", "--quick")
    assert done.returncode == 0, done.stderr
    (plan,) = records(tmp_path, "plan")
    assert (plan["baseline"], plan["contender"], plan["rounds"]) == ("plain", "fast", 6)
    rungs = {rung["change"]: rung for rung in plan["ladder"]}
    assert rungs["channels_last"]["forwards"] == ["plain", "plain+channels_last"]
    assert rungs["channels_last"]["backwards"] == ["fast-channels_last", "fast"]
    assert "needs CUDA" in rungs["capture"]["missing"]
    timed = records(tmp_path, "throughput")
    assert {record["mode"] for record in timed} == {"end-to-end", "compute-only"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "channels_last brings most end to end: 2.5×" in page
    assert "does not pay" in page
    assert "capture (needs CUDA)" in done.stdout


def test_a_scenario_that_fails_is_exit_code_4_and_the_report_has_the_others(
    bench: Bench, tmp_path: Path
) -> None:
    done = bench("--compare", "baseline,tuned", "--quick", trouble={"tuned": (2, "SIGKILL")})
    refused(done, 4, "tuned failed in round 3 of 6, end-to-end", "killed by SIGKILL")
    assert "vicreg-fast against baseline: 2.5× the speed, " in done.stdout
    assert "tuned failed during round 3 of 6" in (tmp_path / "out" / "report.html").read_text()
    assert len([r for r in records(tmp_path, "throughput") if r["scenario"] == "tuned"]) == 2 * 3


def test_a_run_of_which_nothing_is_left_is_reported_too(bench: Bench, tmp_path: Path) -> None:
    done = bench("--metrics", "throughput", trouble={"baseline": (0, "exit"), "fast": (0, "SIGSEGV")})
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert "killed by SIGSEGV" in (tmp_path / "out" / "report.md").read_text()


def test_a_disk_that_fills_is_exit_code_1_and_what_was_measured_can_be_reported(
    bench: Bench, run_here: Run, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        done = bench("--metrics", "throughput")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(done, 1, "records.jsonl", "cannot be written", "records before it are kept")
    reported = run_here("report", tmp_path / "out")
    assert reported.returncode == 0, reported.stderr
    assert "vicreg-fast against baseline: speed undecided (2.5× in 4 rounds)" in reported.stdout
    assert "not a whole JSON object" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--compare", "baseline,fast+turbo"], ["fast+turbo", "turbo", "channels_last"]),
        (["--compare", "baseline+capture"], ["baseline+capture", "needs CUDA"]),
        (["--compare", "baseline-dali"], ["baseline-dali", "does not have it"]),
        (["--ladder", "--compare", "tuned"], ["--ladder", "--compare"]),
        (["--ladder", "--metrics", "accuracy"], ["--ladder", "accuracy"]),
        (["--set", "optimizer=apex-fusedsgd"], ["apex-fusedsgd", "lars"]),
        (["--set", "precision=fp16"], ["fp16", "CUDA"]),
    ],
    ids=["change", "not here", "not there", "ladder compare", "ladder accuracy", "apex", "fp16"],
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(
    bench: Bench, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    refused(bench(*arguments), 2, *words)
    assert not (tmp_path / "out").exists()
