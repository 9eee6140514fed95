"""A run's folder, however it was left, becomes a page that says what its numbers say and what they lack."""

import base64
import csv
import fcntl
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.record import Environment
from bench.session_record import Session
from reports.dispatch import choose_kind
from reports.run_figures import run_pictures
from reports.run_lines import COLUMNS, thinned
from reports.run_log import load_run
from reports.run_render import print_run, render_run_html, render_run_markdown, write_run
from reports.run_summary import health_of, speed_of, weighted_terms
from reports.run_tables import changes_table, numbers_table, samples_csv, session_table
from reports.run_verdict import run_verdict
from tests.reports.linear_results import linear_result
from tests.reports.test_render import HOSTILE, Page
from vicreg_fast.config import load_recipe
from vicreg_fast.errors import RecordError, UsageError
from vicreg_fast.evaluation.result import write_result

Line = dict[str, Any]
NewRun = Callable[..., Path]


def line_of(step: int, total: int = 20) -> Line:
    """One of a healthy run of 5 steps an epoch."""
    done = step / total
    terms = {"invariance": 0.2 - 0.1 * done, "variance": 0.6 - 0.3 * done, "covariance": 1.0 + done}
    return {
        "step": step,
        "epoch": step / 5,
        "loss": 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"],
        **terms,
        "std_mean": 0.3 + 0.5 * done,
        "std_min": 0.2 + 0.3 * done,
        "dead_fraction": 0.0,
        "effective_rank": 10 + 20 * done,
        "off_diagonal_energy": 0.9 - 0.5 * done,
        "learning_rate": 0.1 * (1 - done),
        "pairs_per_second": 100.0,
        "loader_wait_share": 0.02,
        "seconds": 1.28 * step,
    }


def session(from_step: int) -> Session:
    return Session(
        time="2026-01-02T03:04:05+00:00",
        from_step=from_step,
        steps_per_epoch=5,
        total_steps=20,
        device="cpu",
        pipeline="dali",
        world_size=1,
        environment=Environment(
            processor="Test CPU", cores=8, memory_bytes=2**35, system="Linux", versions={"torch": "2.15.0"}
        ),
    )


@pytest.fixture
def new_run(tmp_path: Path) -> NewRun:
    def make(
        lines: list[Line] | None = None,
        *,
        raw: str = "",
        sessions: tuple[int, ...] = (0,),
        recipe: str | None = None,
        **settings: Any,
    ) -> Path:
        folder = tmp_path / "my run"
        folder.mkdir(exist_ok=True)
        if recipe is None:
            changed = load_recipe("smoke").replace(**{"max_steps": 20, "log_every_steps": 1, **settings})
            recipe = changed.to_toml()
        (folder / "recipe.toml").write_text(recipe)
        found = [line_of(step) for step in range(1, 21)] if lines is None else lines
        text = "".join(json.dumps(line) + "\n" for line in found)
        (folder / "metrics.jsonl").write_text(text + raw)
        (folder / "sessions.jsonl").write_text(
            "".join(session(at).model_dump_json() + "\n" for at in sessions)
        )
        return folder

    return make


def test_a_healthy_run_is_a_page_with_the_verdict_first(new_run: NewRun, tmp_path: Path) -> None:
    folder = new_run(sessions=(0, 8))
    (folder / "checkpoint.pt").touch()
    write_result(linear_result(), folder / "linear.json")
    kind = choose_kind([folder])
    assert kind.name == "a pretraining run"
    written = kind.write([folder], tmp_path / "out")
    assert set(written) == {"report.html", "report.md", "samples.csv"}
    html = written["report.html"].read_text()
    page = Page(html)
    headline = "Finished: 20 steps; the loss fell from 20.6 to 12.0; no sign of collapse."
    places = [
        page.words.index(text) for text in (headline, "Pictures", "Linear evaluation", "Numbers", "Sessions")
    ]
    assert places == sorted(places)
    for text in (
        "0:00:26 of training, 4.00 epochs and 2,560 pairs of views",
        "The run went on from a checkpoint 1 time: step 8",
        "Test CPU",
        "70.0 % of 100 test images",
        "Changed against the shipped recipe smoke",
    ):
        assert text in page.words, text
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert str(value).startswith(("#", "data:"))
    assert html.count("<style>") == 1
    assert "@import" not in html
    assert str(tmp_path) not in html
    (link,) = [a for t, a in page.tags if t == "a" and a.get("download") == "samples.csv"]
    inside = base64.b64decode(str(link["href"]).partition(",")[2]).decode()
    assert inside == written["samples.csv"].read_text()
    rows = list(csv.DictReader(io.StringIO(inside)))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert float(rows[4]["loss"]) == line_of(5)["loss"]
    markdown = written["report.md"].read_text()
    assert markdown.index("Finished: 20 steps") < markdown.index("| loss |") < markdown.index("## Linear")
    console = Console(file=io.StringIO(), width=100)
    kind.print([folder], console)
    assert "Finished: 20 steps" in console.file.getvalue()  # type: ignore[attr-defined]


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


def test_a_log_without_most_keys_is_drawn_as_far_as_it_goes(new_run: NewRun) -> None:
    log = load_run(new_run([{"step": 4, "loss": 3.0, "grad_norm": 2.0}], sessions=()))
    said = run_verdict(log)
    assert said.headline == (
        "Not finished: logged up to step 4 of 20 (20.0 %); the only loss logged is 3.00; "
        "whether the embeddings collapsed was not logged."
    )
    assert [picture.name for picture in run_pictures(log)] == ["run-loss", "run-others"]
    assert any("sessions.jsonl is missing" in caveat for caveat in said.caveats)


def collapsing(first: int) -> list[Line]:
    return [
        {**line_of(step), **({"std_mean": 0.02, "std_min": 0.01} if step >= first else {})}
        for step in range(1, 21)
    ]


def test_collapse_is_judged_as_the_guard_judges_it(new_run: NewRun) -> None:
    log = load_run(new_run(collapsing(18)))
    health = health_of(log)
    assert (health.collapsed_at, health.longest, health.at_the_end) == ((18, 19, 20), 3, True)
    said = run_verdict(log)
    assert said.tone == "bad"
    assert "look collapsed at the end (3 logged steps from 18 on)" in said.headline
    recovered = [*collapsing(18)[:-1], line_of(20)]
    said = run_verdict(load_run(new_run(recovered, collapse_patience=0)))
    assert said.tone == "open"
    assert "looked collapsed at 2 logged steps, first at 18, and recovered" in said.headline
    assert any("collapse_patience = 0" in caveat for caveat in said.caveats)
    small = load_run(new_run([{**line_of(step), "std_mean": 0.03} for step in range(1, 21)], gamma=0.5))
    assert not health_of(small).collapsed_at, "the limit goes with γ"


def test_a_run_that_goes_on_is_told_from_one_that_stopped(new_run: NewRun) -> None:
    folder = new_run([line_of(step) for step in range(1, 8)])
    said = run_verdict(load_run(folder))
    assert said.headline.startswith("Not finished: logged up to step 7 of 20 (35.0 %)")
    assert any("it has no checkpoint yet" in caveat for caveat in said.caveats)
    with (folder / "recipe.toml").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line_of(8)) + "\n")
        said = run_verdict(load_run(folder))
    assert said.headline.startswith("Training now: logged up to step 8 of 20")
    assert not any("No process" in caveat for caveat in said.caveats)


def test_waiting_for_images_is_told_without_the_start_of_each_session(new_run: NewRun) -> None:
    lines = [{**line_of(step), "loader_wait_share": 0.9 if step in (1, 11) else 0.3} for step in range(1, 21)]
    log = load_run(new_run(lines, sessions=(0, 10)))
    speed = speed_of(log)
    assert speed is not None
    assert speed.loader_wait == pytest.approx(0.3)
    assert any("up to 1.4 times as fast" in sentence for sentence in run_verdict(log).context)
    alone = speed_of(load_run(new_run(lines[:1])))
    assert alone is not None
    assert alone.loader_wait == pytest.approx(0.9)


def test_weighted_terms_add_up_to_the_loss(new_run: NewRun) -> None:
    log = load_run(new_run())
    np.testing.assert_allclose(sum(weighted_terms(log).values()), log.values["loss"])
    assert list(weighted_terms(load_run(new_run(covariance_weight=0.0)))) == ["invariance", "variance"]


def test_what_a_recipe_changes_is_told(new_run: NewRun) -> None:
    rows = {row[0]: row[1:] for row in changes_table(load_run(new_run(base_lr=0.7))).rows}
    assert rows == {"base_lr": ("0.01", "0.7"), "log_every_steps": ("5", "1"), "max_steps": ("0", "20")}
    own = changes_table(load_run(new_run(name="my own")))
    assert own.title == "Changed against the defaults (no recipe of this name ships)"


def test_a_spike_and_a_gap_survive_thinning() -> None:
    x = np.arange(1, 100_001)
    y = np.sin(x / 1e4)
    y[54_321] = 1000.0
    y[20_000:24_000] = np.nan
    line = thinned(x, y)
    assert len(line.x) == COLUMNS
    assert line.low is not None
    assert line.high is not None
    assert np.nanmax(line.high) == 1000.0
    assert np.nanmin(line.low) == np.nanmin(y)
    assert np.isnan(line.middle).any()
    assert np.all(np.diff(line.x) > 0)
    few = thinned(x[:500], y[:500])
    assert few.low is None
    assert few.middle is not None
    np.testing.assert_array_equal(few.middle, y[:500])


def test_a_long_run_has_a_part_of_its_numbers_in_the_page(new_run: NewRun) -> None:
    log = load_run(new_run([line_of(step, 1200) for step in range(1, 1201)], max_steps=1200))
    rows = samples_csv(log, 500).splitlines()
    assert len(rows) == 501
    assert rows[1].startswith("1,")
    assert rows[-1].startswith("1200,")
    assert len(samples_csv(log).splitlines()) == 1201


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


def test_hostile_names_and_numbers_do_no_harm(new_run: NewRun, tmp_path: Path) -> None:
    lines = [{**line_of(step), HOSTILE: 1.5, "loss": 1e90 * (-1) ** step} for step in range(1, 4)]
    lines[1] |= {f"key {number}": number for number in range(30)}
    folder = new_run(lines, name=HOSTILE)
    log = load_run(folder)
    assert any("further keys left out" in problem for problem in log.problems)
    html = render_run_html(log)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "alert(1)" in Page(html).words
    console = Console(file=io.StringIO(), width=100)
    print_run([folder], console)
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]
    assert numbers_table(log).rows
