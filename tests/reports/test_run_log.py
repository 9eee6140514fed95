"""What is read of a run's folder, however it was left, and what is said of the rest."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.run_log import load_run
from reports.run_render import render_run_markdown, write_run
from reports.run_tables import session_table
from reports.run_verdict import run_verdict
from tests.reports.pretraining_runs import line_of, run_folder
from vicreg_fast.errors import RecordError, UsageError

NewRun = Callable[..., Path]


@pytest.fixture
def new_run(tmp_path: Path) -> NewRun:
    return partial(run_folder, tmp_path / "my run")


def test_lines_that_cannot_be_used_are_named_and_the_others_count(new_run: NewRun) -> None:
    lines = [line_of(step) for step in range(1, 11)]
    raw = 'rubbish\n{"loss": 1}\n[1]\n' + json.dumps(line_of(11)) + "\n" + '{"step": 12, "lo'
    log = load_run(new_run(lines, raw=raw))
    assert log.steps.tolist() == list(range(1, 12))
    assert [problem.partition(":")[0] for problem in log.problems] == [
        "metrics.jsonl, line 11",
        "metrics.jsonl, line 12",
        "metrics.jsonl, line 13",
        "metrics.jsonl, line 15, the last, is torn",
    ]
    assert run_verdict(log).tone == "open"
    assert "torn" in render_run_markdown(log)


def test_of_steps_logged_twice_the_later_count(new_run: NewRun) -> None:
    before = [{**line_of(step), "loss": 99.0} for step in range(1, 13)]
    after = [line_of(step) for step in range(9, 21)]
    log = load_run(new_run(before + after))
    assert log.steps.tolist() == list(range(1, 21))
    assert log.values["loss"][:8].tolist() == [99.0] * 8
    assert log.values["loss"][8:].tolist() == [line_of(step)["loss"] for step in range(9, 21)]
    assert log.resumed_at == (8,)
    assert log.problems == ("metrics.jsonl, line 13 goes back to step 9: the 4 lines before is lost",)


@pytest.mark.parametrize(
    "value",
    [None, math.nan, math.inf, "x", True, 10**400],
    ids=["null", "nan", "inf", "text", "true", "huge"],
)
def test_what_is_no_finite_number_is_missing_and_said(new_run: NewRun, value: Any) -> None:
    lines = [line_of(step) for step in range(1, 21)]
    lines[6]["covariance"] = lines[9]["covariance"] = value
    log = load_run(new_run(lines))
    assert log.missing == {"covariance": (2, 7)}
    assert np.isnan(log.values["covariance"]).nonzero()[0].tolist() == [6, 9]
    said = run_verdict(log)
    assert said.tone == "open"
    assert "covariance 2 (first at step 7)" in said.caveats[0]


@pytest.mark.parametrize("key", [key for key in line_of(1) if key != "step"])
def test_a_key_that_is_not_logged_is_left_out(new_run: NewRun, key: str) -> None:
    lines = [{name: value for name, value in line_of(step).items() if name != key} for step in range(1, 4)]
    log = load_run(new_run(lines))
    assert key not in log.values
    assert log.missing == {}
    assert run_verdict(log).headline


def test_what_no_run_takes_is_told_all_the_same(new_run: NewRun) -> None:
    said = run_verdict(load_run(new_run([{**line_of(20), "seconds": 1e99}])))
    assert said.context[0].startswith("So far: 1e+99 s of training")


def test_sessions_that_cannot_be_read_are_problems(new_run: NewRun) -> None:
    folder = new_run(sessions=(0, 5))
    with (folder / "sessions.jsonl").open("a") as file:
        file.write('{"schema_version": 9, "kind": "session"}\n{"kind": "session"}\n{"torn')
    log = load_run(folder)
    assert log.resumed_at == (5,)
    assert [row[0] for row in session_table(log).rows] == ["0", "5"]
    assert [problem.partition(":")[0] for problem in log.problems] == [
        "sessions.jsonl, line 3",
        "sessions.jsonl, line 4",
        "sessions.jsonl, line 5, the last, is torn",
    ]


def test_a_linear_result_that_cannot_be_read_does_not_hide_the_run(new_run: NewRun) -> None:
    folder = new_run()
    (folder / "linear.json").write_text('{"schema_version": 2, "kind": "linear-evaluation"}')
    log = load_run(folder)
    assert log.linear is None
    assert log.problems == (
        "linear.json: schema 2 is newer than this version reads (1); upgrade vicreg-fast",
    )


def test_runs_that_cannot_be_reported_are_refused_in_one_line(new_run: NewRun, tmp_path: Path) -> None:
    broken: list[tuple[dict[str, Any], str]] = [
        ({"lines": []}, "no logged step; a run logs every 1 step"),
        ({"lines": [], "raw": '{"st'}, "no logged step (metrics.jsonl, line 1, the last, is torn"),
        ({"recipe": "base_lr = "}, "is no TOML text"),
        ({"recipe": "base_lr = -1.0"}, "put the run's own recipe back"),
    ]
    for how, words in broken:
        with pytest.raises(RecordError) as caught:
            load_run(new_run(**how))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    log = load_run(new_run(recipe='max_steps = 20\nnext_years_key = "x"'))
    assert log.problems == ("recipe.toml: this version knows no next_years_key; left out",)
    (tmp_path / "my run" / "metrics.jsonl").unlink()
    with pytest.raises(RecordError, match=r"metrics.jsonl: no logged step; a run logs"):
        load_run(tmp_path / "my run")
    with pytest.raises(UsageError, match="a report is of one pretraining run"):
        write_run([tmp_path, tmp_path / "my run"], tmp_path)
