"""The report of losses: what it says, shows and reads."""

import base64
import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from reports.loss_figures import loss_pictures
from reports.loss_load import holds_losses, load_loss_report
from reports.loss_render import (
    print_loss_report,
    render_loss_html,
    render_loss_markdown,
    write_loss_report,
)
from reports.loss_summary import summarise_losses
from reports.loss_tables import gate_table, place_tables, subject_table
from reports.loss_verdict import loss_verdict
from tests.reports.loss_runs import LossRun, subject
from tests.reports.test_render import HOSTILE, Page, assert_self_contained
from vicreg_fast.errors import RecordError

OURS = {"official": 400.0, "official-compiled": 250.0, "auto": 10.0}
PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "2026-11-22-cpu" / "loss-three.jsonl"


@pytest.fixture
def new_run(tmp_path: Path):
    count = 0

    def make(*subjects, **options) -> LossRun:
        nonlocal count
        count += 1
        return LossRun(tmp_path / f"loss-{count}.jsonl", *subjects, **options)

    return make


@pytest.fixture
def full_run(new_run) -> LossRun:
    """Two shapes, a rival that differs by its convention, one that is absent, memory, floor and checks."""
    run = new_run(
        "official",
        "official-compiled",
        subject(
            "lightly", obstacle="the package lightly is not installed; pip install 'vicreg-fast[rivals]'"
        ),
        subject("solo-learn", preset="summed", convention="its variance term is not half of it"),
        "auto",
    )
    run.timed({**OURS, "solo-learn": 800.0}).timed(
        {"official": 90.0, "official-compiled": 60.0, "solo-learn": 130.0, "auto": 30.0}, 1024, 512
    )
    for name, size in (("official", 1000.0), ("official-compiled", 700.0), ("auto", 20.0)):
        run.held(name, size).checked(name)
    run.checked("solo-learn", preset="summed", value_over_official=1.25)
    run.held("official", 8.0, 1024, 512).held("auto", 10.0, 1024, 512)
    return run.floor(6.0).floor(10.0, 1024, 512)


def headline(run: LossRun) -> str:
    return loss_verdict(run.report()).headline


def test_cold_caches_are_said_and_not_mixed_with_warm_ones(new_run) -> None:
    warm, cold = new_run("official", "auto").timed(OURS), new_run("official", "auto").timed(OURS)
    cold.records[0] = cold.records[0].model_copy(update={"caches": "cold"})
    said = "The caches were flushed before each call that was timed."
    assert said in loss_verdict(cold.report()).context
    assert said not in loss_verdict(warm.report()).context
    with pytest.raises(RecordError, match="report them apart"):
        load_loss_report([warm.file, cold.file])


def test_the_headline_is_the_fastest_everywhere_with_the_nearest_rival(full_run) -> None:
    said = loss_verdict(full_run.report())
    assert said.headline == (
        "Ours (auto) is the fastest at every one of 2 shapes: 3.0× (1024 × 512) to 40× (256 × 8192) as fast "
        "as official; the nearest rival is official-compiled: ours is 2.0× (2.0–2.0) as fast at 1024 × 512."
    )
    assert said.tone == "good"
    assert said.caveats == ()
    assert [card.value for card in said.cards] == [
        "3.0×–40×",
        "0.020× official's",
        "60.0 %",
    ]


def test_one_shape_is_named(new_run) -> None:
    assert headline(new_run().timed(OURS)) == (
        "Ours (auto) is the fastest at 256 × 8192: 40× (40–40) as fast as official; the nearest rival is "
        "official-compiled: ours is 25× (25–25) as fast."
    )


def test_where_ours_is_not_the_fastest_is_said(new_run) -> None:
    run = new_run().timed(OURS).timed({**OURS, "official-compiled": 5.0}, 64, 512)
    assert headline(run) == (
        "Ours (auto) is the fastest at 1 of 2 shapes: 40× (256 × 8192) to 40× (64 × 512) as fast as "
        "official; at 64 × 512 official-compiled is faster: ours is 0.50× (0.50–0.50) as fast."
    )
    assert loss_verdict(run.report()).tone == "bad"


def test_a_difference_within_the_noise_is_not_called_faster(new_run) -> None:
    run = (
        new_run()
        .timed({"auto": 10.0})
        .timed({"official": 10.1}, noise=[1, 0.9, 1.1, 0.93, 1.06, 1, 0.95, 1.04])
    )
    said = loss_verdict(run.report())
    assert "is not shown to be the fastest at any of 1 shape" in said.headline
    assert "at 256 × 8192 it is shown neither faster nor slower than official" in said.headline
    assert said.tone == "open"


def test_ours_alone_or_rivals_alone_get_no_verdict(new_run) -> None:
    for times in ({"auto": 1.0, "gram": 1.0}, {"official": 1.0}):
        said = loss_verdict(new_run().timed(times).report())
        assert said.headline == "Ours was not timed beside another loss, so there is no verdict on speed."
        assert said.tone == "open"


def test_without_auto_the_fastest_of_ours_stands_for_it(new_run) -> None:
    run = new_run().timed({"official": 40.0, "gram": 10.0, "covariance": 20.0})
    assert headline(run).startswith("Ours (gram) is the fastest at 256 × 8192: 4.0×")


def test_a_refused_loss_is_in_every_output_with_its_deviation(full_run) -> None:
    report = full_run.checked(
        "solo-learn", 64, 64, passed=False, value_error=0.03, gradient_error=None, preset="summed"
    ).report()
    said = loss_verdict(report)
    assert said.tone == "bad"
    assert "solo-learn failed the check against the oracle and was not timed there" in said.headline
    (caveat,) = said.caveats
    assert "its value is off by 3.0e-02 (1.2e-06 allowed), its gradient is not finite" in caveat
    (table,) = (t for t in place_tables(summarise_losses(report)) if t.title.startswith("64 × 64"))
    (row,) = table.rows
    assert row[:3] == ("solo-learn", "–", "off by 3.0e-02, gradient not finite")
    console = Console(file=io.StringIO(), width=200)
    print_loss_report(report, console)
    outputs = (
        console.file.getvalue(),  # type: ignore[attr-defined]
        Page(render_loss_html(report)).words,
        render_loss_markdown(report).replace("\\", ""),
    )
    for text in outputs:
        assert "off by 3.0e-02" in text


def test_a_value_that_overflowed_is_not_said_to_be_off_by_something(full_run) -> None:
    report = full_run.checked("official", 64, 64, passed=False, value_error=None).report()
    (caveat,) = loss_verdict(report).caveats
    assert "its value is not finite, its gradient is off by" in caveat
    (table,) = (t for t in place_tables(summarise_losses(report)) if t.title.startswith("64 × 64"))
    assert table.rows[0][2].startswith("value not finite, gradient ")


def test_a_failure_is_said(full_run) -> None:
    report = full_run.failure("lightly", "gate, 256 × 8192, float32", "out of memory").report()
    said = loss_verdict(report)
    assert said.headline.endswith("; lightly ended with an error.")
    assert said.caveats == ("lightly failed in gate, 256 × 8192, float32: out of memory",)


def test_the_context_tells_memory_floor_absent_and_different_losses(full_run) -> None:
    text = "\n".join(loss_verdict(full_run.report()).context)
    assert "0.020× that of official at 256 × 8192 (20.0 MiB against 1,000 MiB)" in text
    assert "at most 1.25× anywhere (1024 × 512)" in text
    assert "Ours reaches 33.3 % to 60.0 % of the floor" in text
    assert "150 GFLOP/s in float32, 12.0 GB/s" in text
    assert "lightly was not measured: the package lightly is not installed" in text
    assert (
        "solo-learn is held to the preset summed: its variance term is not half of it; on these views" in text
    )
    assert "its value is 1.25× the official one" in text
    assert "Measured on Test CPU" in text


def test_a_busy_machine_and_few_pairs_are_caveats(new_run) -> None:
    run = new_run().timed(OURS, noise=(1.0, 1.1, 0.9))
    run.environment["load_average"] = 9.0
    said = loss_verdict(run.report())
    assert said.tone == "open"
    assert said.caveats[0] == "The machine was already busy when a run began: load 9.0 on 8 cores."
    assert "ratios are of 3 pairs only" in said.caveats[1]


def test_tables_hold_every_number(full_run) -> None:
    first, second = place_tables(summarise_losses(full_run.report()))
    assert first.title == "256 × 8192, float32, cpu: 8 pairs"
    rows = {row[0]: dict(zip(first.columns, row, strict=True)) for row in first.rows}
    assert rows["auto"] == {
        "loss": "auto", "as": "gram", "check": "passed", "both ms": "10.0", "× official": "40×",
        "95 % interval": "40–40", "peak extra": "20.0 MiB", "of floor": "60.0 %",
    }  # fmt: skip
    assert rows["official"]["× official"] == "–"
    assert first.rows[-1] == ("at least", "–", "–", "6.00", "–", "–", "–", "–")
    assert rows["solo-learn"]["peak extra"] == "–"
    assert [row[0] for row in second.rows[4:]] == ["at least"]
    subjects = {row[0]: row[1:] for row in subject_table(full_run.report()).rows}
    assert "not installed" in subjects["lightly"][-1]
    assert [row[0] for row in gate_table(full_run.report()).rows][-1] == "solo-learn"


def test_forward_and_backward_have_columns_of_their_own(new_run) -> None:
    run = new_run().timed(OURS, phases=("forward", "backward", "forward+backward"))
    (table,) = place_tables(summarise_losses(run.report()))
    assert table.columns[3:6] == ("fwd ms", "bwd ms", "both ms")
    only = new_run().timed(OURS, phases=("backward",))
    assert "timed backward only" in headline(only)


def test_dtypes_are_told_apart_where_there_are_several(new_run) -> None:
    run = new_run().timed(OURS).timed({**OURS, "auto": 5.0}, dtype="bfloat16")
    assert "40× (256 × 8192 float32) to 80× (256 × 8192 bfloat16)" in headline(run)


def test_pictures_name_every_loss_and_value(full_run) -> None:
    speed, memory = loss_pictures(summarise_losses(full_run.report()))
    assert speed.title == "Ours is 3.0× to 40× as fast as official"
    assert "256 × 8192: official-compiled 1.60×, solo-learn 0.50×, auto 40×" in speed.alt
    assert "official-compiled" in speed.svg
    assert "40×" in speed.svg
    assert "var(--scenario-4)" in speed.svg
    assert memory.title == "Ours holds 0.020× the extra memory of official at 256 × 8192"


def test_the_page_asks_for_nothing_and_begins_with_the_verdict(full_run) -> None:
    report = full_run.report()
    html = render_loss_html(report)
    page = Page(html)
    assert_self_contained(page, html)
    said = loss_verdict(report)
    places = [
        page.words.index(t) for t in (said.headline, *said.context, "Pictures", "Numbers", "Environment")
    ]
    assert places == sorted(places)
    assert render_loss_markdown(report).splitlines()[2].startswith("**✓ Ours (auto)")


def test_hostile_text_is_shown_as_text(new_run) -> None:
    run = new_run("official", subject(HOSTILE, convention=HOSTILE, source=HOSTILE, obstacle=HOSTILE), "auto")
    run.timed({"official": 4.0, HOSTILE: 2.0, "auto": 1.0}).checked(HOSTILE, passed=False)
    html = render_loss_html(run.failure(HOSTILE, HOSTILE, HOSTILE).report())
    page = Page(html)
    assert_self_contained(page, html)
    assert "alert(1)</script>" in page.words
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_what_a_report_holds_loads_as_the_same_report(full_run, tmp_path: Path) -> None:
    report = full_run.report()
    links = {a["download"]: a["href"] for tag, a in Page(render_loss_html(report)).tags if tag == "a"}
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(base64.b64decode(str(links["records.jsonl"]).split(",", 1)[1]))
    assert load_loss_report([copy]).records == report.records


def test_equal_records_give_equal_bytes_and_every_sample_a_row(full_run, tmp_path: Path) -> None:
    path = full_run.write()
    first = write_loss_report([path], tmp_path / "one")
    summarise_losses.cache_clear()
    second = write_loss_report([path], tmp_path / "two")
    assert {name: p.read_bytes() for name, p in first.items()} == {
        n: p.read_bytes() for n, p in second.items()
    }
    rows = list(csv.DictReader(io.StringIO(first["samples.csv"].read_text())))
    assert sum(row["kind"] == "loss-timing" for row in rows) == 8 * 8
    assert {row["kind"] for row in rows} == {"loss-timing", "loss-memory", "loss-floor", "loss-gate"}


def test_two_runs_of_one_process_pair_within_themselves(new_run) -> None:
    slow = new_run().timed({"official": 800.0, "auto": 20.0}).write()
    fast = new_run().timed({"official": 400.0, "auto": 10.0}).write()
    summary = summarise_losses(load_loss_report([slow, fast]))
    (duel,) = summary.duels
    assert duel.speedup.samples == 16
    assert (duel.speedup.low, duel.speedup.high) == pytest.approx((40.0, 40.0))


def test_a_time_that_cannot_be_and_one_made_twice_are_named(new_run) -> None:
    run = new_run().timed(OURS).timed({"auto": 16.0}).timed({"gram": float("nan")}, 8, 8)
    report = run.report()
    assert report.problems == (
        "loss-1.jsonl: forward+backward of gram at 8 × 8, float32: a time that no call takes; left out",
        "forward+backward of auto at 256 × 8192, float32: measured twice; the later measurement counts",
    )
    assert "is the fastest at 256 × 8192: 25× (25–25) as fast as official" in loss_verdict(report).headline


def test_files_that_are_not_of_bench_loss_are_refused_in_one_line(new_run, tmp_path: Path) -> None:
    other = new_run().write()
    assert not holds_losses([other])
    for paths, message in (
        ([other], "no record of a loss"),
        ([], "at least one"),
        ([other, other], "once"),
        ([tmp_path / "nothing.jsonl"], "cannot be read"),
    ):
        with pytest.raises(RecordError, match=message) as caught:
            load_loss_report(paths)
        assert "\n" not in str(caught.value)


def test_the_records_published_before_there_were_checks_are_read_and_rendered() -> None:
    assert holds_losses([PUBLISHED])
    assert not holds_losses([PUBLISHED.with_name("comparison.jsonl")])
    report = load_loss_report([PUBLISHED])
    assert report.problems == ()
    assert {t.provider for t in report.timings} == {"official", "gram", "covariance"}
    assert loss_verdict(report).headline.startswith("Ours (gram) is the fastest at every one of 2 shapes")
    page = Page(render_loss_html(report))
    assert "256 × 8192, float32, cpu: 30 pairs" in page.words
    assert "not recorded" in page.words
