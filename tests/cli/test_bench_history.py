"""`vicreg-fast bench history`, as a user calls it."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.bench.test_history import CASE, environment, regression, written
from tests.cli.conftest import Run, refused
from tests.reports.test_render import HOSTILE, Page, assert_self_contained


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve runs, the last five 10 % slower; and one case that was measured once."""
    folder = tmp_path_factory.mktemp("runs")
    for day in range(12):
        ratio = (1.1 if day >= 7 else 1.0) * (1 + 0.01 * (day % 3))
        records = regression(ratio, head=f"{day:x}" * 40)
        written(folder / f"run-{day}" / "records.jsonl", environment(day), *records)
    written(folder / "once.jsonl", environment(3), *regression(1.0, case="other"))
    return folder


def test_the_verdict_is_first_then_each_series_and_change(run_here: Run, slowed: Path) -> None:
    done = run_here("bench", "history", slowed)
    assert (done.returncode, done.stderr) == (0, "")
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(
        rf"✗ 1 of 1 series slowed down within the last 10 points: {CASE} by \+1\d\.\d % \(slower\)\.", first
    )
    assert "6666666666 → 7777777777" in done.stdout
    assert "1 case was measured once only" in done.stdout


def test_strict_is_1_for_a_slowdown_that_is_recent(run_here: Run, slowed: Path) -> None:
    assert run_here("bench", "history", slowed, "--strict").returncode == 1
    assert run_here("bench", "history", slowed, "--strict", "--recent", 5).returncode == 1
    done = run_here("bench", "history", slowed, "--strict", "--recent", 4)
    assert done.returncode == 0
    assert done.stdout.startswith("✓ No slowdown within the last 4 points of 1 series.")


def test_json_is_alone_on_stdout_and_has_everything(run_here: Run, slowed: Path, tmp_path: Path) -> None:
    done = run_here("bench", "history", slowed, "--json", "--out", tmp_path / "out")
    found = json.loads(done.stdout)
    (series,) = found["series"]
    assert (series["case"], len(series["points"])) == (CASE, 12)
    (change,) = series["changes"]
    assert (change["index"], change["slower"]) == (7, True)
    assert (change["before"], change["after"]) == ("6" * 40, "7" * 40)
    assert found["slowed"] == [CASE]
    assert found["single"] == ["other (÷ naive loss; cpu, 2 threads; Test CPU, 8 cores, no GPU)"]
    assert str(tmp_path / "out" / "report.html") in done.stderr


def test_the_page_draws_the_trend_and_stands_alone(run_here: Run, slowed: Path, tmp_path: Path) -> None:
    hostile = [regression(1.0 + day, case=HOSTILE, command=HOSTILE) for day in range(2)]
    for day, records in enumerate(hostile):
        written(tmp_path / f"{day}.jsonl", environment(day), *records)
    done = run_here("bench", "history", slowed, tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_self_contained(page, html)
    assert "alert(1)</script>" in page.words
    assert html.count("<svg") == 2
    assert f"{CASE}: +1" in page.words
    alt = next(str(attributes["aria-label"]) for tag, attributes in page.tags if tag == "svg")
    assert "12 points from 1.00 on 2026-01-01 to 1.12 on 2026-01-12" in alt
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL)))
    with (tmp_path / "out" / "points.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert [row["case"] for row in rows if row["change"]] == [CASE]
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("## Measurements over time\n\n**✗ 1 of 2 series slowed down")


def test_what_cannot_be_is_refused_in_one_line(run_here: Run, tmp_path: Path) -> None:
    refused(run_here("bench", "history", tmp_path), 1, "no measurement found", "name record files")
    for arguments in ((tmp_path / "nowhere",), (), (tmp_path, "--recent", 0)):
        done = run_here("bench", "history", *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    once = written(tmp_path / "once.jsonl", environment(), *regression(1.0))
    done = run_here("bench", "history", once, "--strict")
    assert done.returncode == 0
    assert done.stdout.startswith("? No series yet")
    twice = written(tmp_path / "twice.jsonl", environment(1), *regression(1.0))
    done = run_here("bench", "history", once, twice, "--strict")
    assert done.stdout.startswith(
        "? 1 series, none long enough to look for a change in: that takes 6 points."
    )
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused(run_here("bench", "history", once, "--out", blocked / "x"), 1, "choose another --out")
