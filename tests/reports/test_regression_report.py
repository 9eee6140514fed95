"""The report of a regression run: what it says, shows and reads. Judging is tested with the judge."""

import base64
import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from bench.record import read_records
from reports import regression_figures
from reports.dispatch import choose_kind
from reports.regression_figures import regression_pictures
from reports.regression_load import load_regression, round_ratios
from reports.regression_render import (
    print_regression_report,
    render_regression_html,
    render_regression_markdown,
    render_summary,
    write_regression_report,
)
from reports.regression_tables import case_table, gate_table
from reports.regression_words import change, regression_said, reproduce
from tests.reports.regression_runs import RegressionRun
from tests.reports.test_render import HOSTILE, Page, assert_self_contained
from vicreg_fast.errors import RecordError

GRAM, WIDE, AUTO = "gram-256x2048-float32", "covariance-1024x256-float32", "auto-64x512-float32"


@pytest.fixture
def new_run(tmp_path: Path):
    count = 0

    def make(*cases, **plan) -> RegressionRun:
        nonlocal count
        count += 1
        return RegressionRun(tmp_path / f"run-{count}.jsonl", *(cases or (GRAM, WIDE, AUTO)), **plan)

    return make


@pytest.fixture
def regressed(new_run) -> RegressionRun:
    """One case 10 % slower and confirmed, one unchanged, one 20 % faster; two counts differ."""
    run = new_run().timed(WIDE).timed(GRAM, 1.1, attempts=(0, 1)).timed(AUTO, 0.8)
    for case in (GRAM, WIDE, AUTO):
        run.gate(case, "operators", 31, 31)
    return run.gate(AUTO, "saved-bytes", 4096, 2048).gate("centre sm_90", "registers", 40, 38)


def test_the_verdict_comes_first_and_what_is_worse_is_on_top(regressed) -> None:
    report = regressed.report()
    said = regression_said(report)
    assert said.tone == "bad"
    assert said.headline == report.judgement.headline
    words = Page(render_regression_html(report)).words
    parts = (said.headline, "Pictures", "Numbers", "Exact counts that differ", "Everything else")
    places = [words.index(text) for text in parts]
    assert places == sorted(places)
    assert "Every exact count (5)" in words
    table = case_table(report)
    assert [row[0] for row in table.rows] == [GRAM, AUTO, WIDE]
    assert [row[1] for row in table.rows] == ["▲ regressed", "▼ faster", "= unchanged"]
    assert table.rows[0][2] == report.judgement.cases[0].reason
    assert table.rows[0][3] == "+10.0 %"
    low, high = map(float, table.rows[0][4].split("–"))
    assert 1.08 < low < 1.1 < high < 1.12
    assert table.rows[0][6:] == ("3.0 %", "yes")


def test_the_summary_is_the_verdict_a_table_the_counts_the_machine_and_how_to_see_it_again(regressed) -> None:
    text = render_summary(regressed.all_records)
    assert text == render_regression_markdown(regressed.report())
    lines = [line for line in text.splitlines() if line]
    assert lines[1].startswith("**✗ ")
    assert sum(line.startswith("### ") for line in lines) == 2
    plain = text.replace("\\", "")
    assert "| saved-bytes | 4,096 | 2,048 | −2,048 (−50.0 %) |" in plain
    assert "operators" not in plain.split("Exact counts that differ")[1]
    assert "Measured on Test CPU (8 cores, 32.0 GiB)" in plain
    assert "with 2 threads; 8 rounds of 5 pairs a case beside the frozen naive loss, by wall time." in plain
    assert (
        lines[-1]
        == f"To see it again: `git checkout {'4' * 12} && vicreg-fast bench loss --against {'b' * 12}`"
    )


@pytest.mark.parametrize(
    ("command", "again"),
    [
        (
            "vicreg-fast bench loss --cases a,b --against main --out x --junit j.xml --rounds 9",
            f"git checkout {'4' * 12} && vicreg-fast bench loss --cases a,b --against {'b' * 12} --rounds 9",
        ),
        ("no quote's end", "no quote's end"),
    ],
)
def test_the_command_to_see_it_again_names_commits_and_keeps_its_options(new_run, command, again) -> None:
    assert reproduce(new_run(command=command).report()) == again


def test_a_stored_base_is_compared_with_again_as_it_was(new_run) -> None:
    command = "vicreg-fast bench loss --against base.jsonl"
    assert reproduce(new_run(command=command, source="records").report()) == command


def test_every_count_is_a_click_away_and_the_differing_ones_are_first(regressed) -> None:
    report = regressed.report()
    every = gate_table(report, only_differing=False)
    assert [row[1] for row in every.rows] == ["saved-bytes", "registers", *["operators"] * 3]
    assert [row[-1] for row in every.rows[2:]] == ["equal"] * 3
    assert len(gate_table(report, only_differing=True).rows) == 2


def test_a_count_that_only_one_side_has_is_said(new_run) -> None:
    run = new_run(GRAM).timed(GRAM).gate(GRAM, "flops", None, 9).gate(GRAM, "operators", 9, None)
    rows = gate_table(run.report(), only_differing=True).rows
    assert [row[2:] for row in rows] == [("–", "9", "head only"), ("9", "–", "base only")]


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.1042, "+10.4 %"), (0.5, "−50.0 %"), (1.0004, "0.0 %"), (0.9999, "0.0 %"), (3.0, "3.0×")],
)
def test_a_ratio_reads_as_a_change(ratio: float, words: str) -> None:
    assert change(ratio) == words


def test_rounds_are_paired_within_their_round(regressed) -> None:
    report = regressed.report()
    ratios = round_ratios(report, GRAM, "head")
    assert [(ratio.attempt, ratio.round) for ratio in ratios] == [(a, r) for a in (0, 1) for r in range(8)]
    assert all(1.08 < ratio.low < ratio.estimate < ratio.high < 1.13 for ratio in ratios)
    control = round_ratios(report, GRAM, "control")
    assert len(control) == 16
    assert all(abs(ratio.estimate - 1) < 0.01 for ratio in control)


def test_a_stored_base_is_not_paired_with_rounds_of_today(new_run) -> None:
    run = new_run(GRAM, source="records", base_commit=None)
    for number in range(3):
        run.sample(GRAM, "base", number, 1 + number / 10)  # its median is 1.1
    for number in range(8):
        run.sample(GRAM, "head", number, 1.1).sample(GRAM, "control", number, 1.1 * 1.02)
    report = run.report()
    assert [ratio.estimate for ratio in round_ratios(report, GRAM, "head")] == pytest.approx([1.0] * 8)
    assert [ratio.estimate for ratio in round_ratios(report, GRAM, "control")] == pytest.approx([1.02] * 8)
    assert "from stored records" in " ".join(regression_said(report).context)


def test_the_pictures_say_the_finding_and_hold_every_case(regressed) -> None:
    forest, rounds = regression_pictures(regressed.report())
    assert forest.title == f"1 of 3 benchmarks slower: {GRAM} by +10.0 %"
    assert rounds.title == f"{GRAM} was slower in 16 of 16 rounds"
    for picture in (forest, rounds):
        for case in (GRAM, WIDE, AUTO):
            assert case in picture.alt
        assert "var(--scenario-" in picture.svg
        assert not re.search(r"#[0-9a-f]{6}\b", picture.svg), "a colour that does not follow the theme"


def test_without_times_there_is_no_picture(new_run) -> None:
    report = new_run(gates_only=True, rounds=0).gate(GRAM, "operators", 3, 3).report()
    assert regression_pictures(report) == ()
    assert "exact counts only: nothing was timed" in " ".join(regression_said(report).context)


def test_of_many_cases_those_to_be_read_first_are_drawn(new_run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression_figures, "MOST_CASES", 1)
    run = new_run().timed(GRAM).timed(WIDE).timed(AUTO, 1.3, attempts=(0, 1))
    for picture in regression_pictures(run.report()):
        assert picture.caption.endswith("2 more cases not drawn: see the table.")
        assert AUTO in picture.alt
        assert GRAM not in picture.alt


def test_the_page_asks_for_nothing_and_shows_hostile_text_as_text(new_run) -> None:
    run = new_run(HOSTILE, against=HOSTILE, command=HOSTILE, base_commit=None).timed(HOSTILE, 1.2)
    run.gate(HOSTILE, HOSTILE, 1, 2).failure(HOSTILE, HOSTILE, HOSTILE)
    run.environment |= {"processor": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    html = render_regression_html(run.report())
    page = Page(html)
    assert_self_contained(page, html)
    assert "alert(1)</script>" in page.words
    assert "\x1b" not in html
    assert "\x1b" not in render_summary(run.all_records)
    console = Console(file=io.StringIO(), width=120)
    print_regression_report([run.file], console)
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_sides_that_cannot_be_compared_are_named_field_by_field(new_run) -> None:
    run = new_run(source="records", base_fingerprint={"processor": "Other CPU", "torch": "2.15.0"})
    said = regression_said(run.report())
    assert said.tone == "open"
    assert "The sides differ in processor: base Other CPU, head Test CPU." in said.caveats
    assert "Exit code 5" in said.context[0]
    assert "Other CPU" in render_summary(run.all_records)
    assert "No benchmark was judged" in Page(render_regression_html(run.report())).words


def test_a_busy_machine_and_a_failure_are_caveats(new_run) -> None:
    run = new_run(GRAM).failure(GRAM, "head, round 2", "killed by signal 9")
    run.environment["load_average"] = 7.5
    said = regression_said(run.report())
    assert said.caveats == (
        f"{GRAM} failed in head, round 2: killed by signal 9",
        "The machine was already busy when the run began: load 7.5 on 8 cores.",
    )
    assert said.tone == "bad"


def test_a_run_that_was_cut_keeps_what_it_has_and_says_what_it_lacks(regressed, tmp_path: Path) -> None:
    regressed.line('{"kind": "regression-sam')
    report = regressed.report()
    (problem,) = report.problems
    assert "not a whole JSON object" in problem
    for text in (Page(render_regression_html(report)).words, render_regression_markdown(report)):
        assert "not a whole JSON object" in text
    newer = tmp_path / "newer.jsonl"
    lines = regressed.file.read_text(encoding="utf-8").splitlines()
    newer.write_text("\n".join([*lines[:-2], '{"schema_version": 9, "kind": "regression-gate"}']) + "\n")
    (problem,) = load_regression([newer]).problems
    assert "schema 9 is newer" in problem


def test_a_time_that_cannot_be_one_is_not_drawn_and_not_hidden(new_run) -> None:
    run = new_run(GRAM).timed(GRAM)
    sample = run.records[-1]
    run.records[-1] = sample.model_copy(update={"seconds": (float("nan"), *sample.seconds[1:])})
    report = run.report()
    assert len(round_ratios(report, GRAM, "control")) == 7
    assert case_table(report).rows[0][1] == "✗ failed"
    html = render_regression_html(report)
    assert "nan" in base64.b64decode(re.findall(r'text/csv;base64,([^"]+)"', html)[0]).decode()


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_a_number_from_a_broken_record_stays_on_the_page(new_run, factor: float) -> None:
    forest, rounds = regression_pictures(new_run(GRAM).timed(GRAM, factor, attempts=(0, 1)).report())
    assert len(forest.svg) + len(rounds.svg) < 100_000


def test_times_whose_ratios_overflow_are_refused_in_one_line(new_run) -> None:
    run = new_run(GRAM)
    for number in range(2):
        run.sample(GRAM, "base", number, 1.0).sample(GRAM, "control", number, 1.0)
        run.sample(GRAM, "head", number, 1e300 if number else 1e-300)
    with pytest.raises(RecordError, match="overflow"):
        run.report()


def test_the_files_hold_every_sample_and_load_again(regressed, tmp_path: Path) -> None:
    written = write_regression_report([regressed.write()], tmp_path / "out")
    assert sorted(written) == ["report.html", "report.md", "samples.csv"]
    rows = list(csv.DictReader(io.StringIO(written["samples.csv"].read_text(encoding="utf-8"))))
    samples = load_regression([regressed.file]).samples
    assert len(rows) == sum(len(sample.seconds) for sample in samples)
    assert float(rows[0]["seconds"]) == samples[0].seconds[0]
    html = written["report.html"].read_text(encoding="utf-8")
    again = tmp_path / "again.jsonl"
    again.write_bytes(base64.b64decode(re.findall(r'application/jsonl;base64,([^"]+)"', html)[0]))
    assert render_regression_html(load_regression([again])) == html
    assert read_records(again)[1] == []


def test_what_is_no_regression_run_is_refused_in_one_line(regressed, new_run, tmp_path: Path) -> None:
    file = regressed.write()
    with pytest.raises(RecordError, match="report them one by one"):
        load_regression([file, file])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(RecordError, match="no plan of a regression run; give the whole file"):
        load_regression([empty])
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"kind": "regr')
    with pytest.raises(RecordError, match="line 1: not a whole JSON object"):
        load_regression([torn])
    twice = tmp_path / "twice.jsonl"
    twice.write_text(2 * file.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RecordError, match="several runs"):
        load_regression([twice])
    with pytest.raises(RecordError, match="no plans"):
        render_summary([])


def test_report_knows_these_records(regressed) -> None:
    kind = choose_kind([regressed.write()])
    assert kind.name == "a run of bench loss --against"
    assert kind.junit is not None
