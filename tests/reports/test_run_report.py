"""A run becomes a page that says what its numbers say, and by which limits."""

import base64
import csv
import fcntl
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reports.dispatch import choose_kind
from reports.run_figures import run_pictures
from reports.run_lines import COLUMNS, thinned
from reports.run_log import load_run
from reports.run_render import print_run, render_run_html
from reports.run_summary import health_of, speed_of, weighted_terms
from reports.run_tables import changes_table, numbers_table, samples_csv
from reports.run_verdict import run_verdict
from tests.reports.linear_results import linear_result
from tests.reports.pretraining_runs import Line, line_of, run_folder
from tests.reports.test_render import HOSTILE, Page
from vicreg_fast.evaluation.result import write_result

NewRun = Callable[..., Path]


@pytest.fixture
def new_run(tmp_path: Path) -> NewRun:
    return partial(run_folder, tmp_path / "my run")


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
        "0:00:26 of training, 4.00 epochs and 1,280 pairs of views",
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
    weights = {"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0}
    log = load_run(new_run(**weights))
    np.testing.assert_allclose(sum(weighted_terms(log).values()), log.values["loss"])
    assert list(weighted_terms(load_run(new_run(covariance_weight=0.0)))) == ["invariance", "variance"]


def test_what_a_recipe_changes_is_told(new_run: NewRun) -> None:
    rows = {row[0]: row[1:] for row in changes_table(load_run(new_run(base_lr=0.7))).rows}
    assert rows == {"base_lr": ("2.0", "0.7"), "log_every_steps": ("10", "1"), "max_steps": ("0", "20")}
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


def test_hostile_names_and_numbers_do_no_harm(new_run: NewRun, tmp_path: Path) -> None:
    lines = [{**line_of(step), HOSTILE: 1.5, "loss": 1e90 * (-1) ** step} for step in range(1, 4)]
    del lines[0]["loader_wait_share"], lines[1]["loader_wait_share"], lines[2]["loader_wait_share"]
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
