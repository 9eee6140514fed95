"""What a report of loaders says: of records made by hand, in numbers that a reader can follow."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.loader_kinds import BASELINE, choose_loaders
from bench.loader_record import CROP, WHOLE, LoaderFidelity, LoaderPlan, LoaderRate, OperationDifference
from bench.record import Environment, Failure, Record, RecordWriter, Throughput
from reports.dispatch import choose_kind
from reports.loader_figures import loader_pictures
from reports.loader_load import load_loader_report
from reports.loader_render import (
    print_loader_report,
    render_loader_html,
    render_loader_markdown,
    write_loader_report,
)
from reports.loader_summary import LoaderSummary
from reports.loader_tables import fidelity_tables, growth_table, rate_tables
from reports.loader_verdict import loader_verdict
from tests.reports.test_render import Page, assert_self_contained
from vicreg_fast.errors import RecordError

TIME = "2026-01-02T03:04:05+00:00"
SPEED = {BASELINE: 100.0, "torchvision": 110.0, "torchvision-v2": 125.0, "dali": 200.0}
APART = {BASELINE: (0.0, 0.0), "torchvision": (0.0, 0.0), "torchvision-v2": (0.01, 0.4), "dali": (0.17, 1.5)}
PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "2026-11-22-cpu"


def environment(**changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "time": TIME,
        "processor": "Test CPU",
        "cores": 2,
        "memory_bytes": 2**33,
        "system": "Linux",
        "load_average": 0.1,
    }
    return Environment(**{**fields, **changes})


def plan(**changes: Any) -> LoaderPlan:
    fields: dict[str, Any] = {
        "time": TIME,
        "command": "vicreg-fast bench loader",
        "device": "cpu",
        "data": "a <b>set</b>, 512 images",
        "augmentation": "official",
        "subjects": choose_loaders(None, None, on_gpu=False),
        "baseline": BASELINE,
        "threads": (2,),
        "image_sizes": (224,),
        "batch_sizes": (128,),
        "rounds": 6,
        "seconds": 5.0,
    }
    return LoaderPlan(**{**fields, **changes})


def rate(name: str, number: int, speed: float, **changes: Any) -> LoaderRate:
    """One round of two windows at that many pairs/s, on 0.95 of two cores."""
    fields: dict[str, Any] = {
        "time": TIME,
        "subject": name,
        "threads": 2,
        "image_size": 224,
        "batch_size": 128,
        "round": number,
        "position": 0,
        "pid": 7,
        "batches_per_window": 2,
        "window_seconds": (256 / speed,) * 2,
        "cpu_seconds": 1.9 * 512 / speed,
    }
    return LoaderRate(**{**fields, **changes})


def fidelity(name: str, crop: float, whole: float, hue: float = 0.2) -> LoaderFidelity:
    operations = (
        OperationDifference(operation=CROP, mean=crop, worst_image=2 * crop),
        OperationDifference(operation="hue 0.1", mean=hue, worst_image=2 * hue, effect=4.0),
        OperationDifference(operation=WHOLE, mean=whole, worst_image=2 * whole),
    )
    return LoaderFidelity(time=TIME, subject=name, image_size=224, images=16, operations=operations)


def written(path: Path, records: Sequence[Record]) -> Path:
    writer = RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()
    return path


def a_run(rounds: int = 6, threads: Sequence[int] = (2,), speed: dict[str, float] = SPEED) -> list[Record]:
    """Each loader `rounds` times, a little faster every round, in proportion to its threads but DALI."""
    records: list[Record] = [environment(), plan(rounds=rounds, threads=tuple(threads))]
    records += [fidelity(name, *APART[name], hue=2.9 if name == "dali" else 0.2) for name in speed]
    for number in range(rounds):
        for count in threads:
            for name, most in speed.items():
                share = count / max(threads) if name != "dali" else (count / max(threads)) ** 0.5
                records.append(rate(name, number, share * most * (1 + number / 100), threads=count))
    return records


def summary_of(tmp_path: Path, records: Sequence[Record]) -> LoaderSummary:
    return LoaderSummary(load_loader_report([written(tmp_path / "records.jsonl", records)]))


def test_the_headline_says_speed_beside_the_authors_and_the_closest(tmp_path: Path) -> None:
    said = loader_verdict(summary_of(tmp_path, a_run(threads=(1, 2))))
    assert said.headline == (
        "dali makes 2.0× (2.0–2.0) the pairs/s of torchvision-stock at 224 px, batch 128, 2 threads; 1.60× "
        "(1.60–1.60) those of torchvision-v2, the closest other loader; from 1 to 2 threads dali makes 1.41× "
        "(1.41–1.41) the pairs/s."
    )
    assert said.tone == "good"
    assert not said.caveats
    assert [card.value for card in said.cards] == ["2.0×", "0.17 of 255", "1.41×"]
    text = " ".join(said.context)
    assert "dali: hue 0.1 by 2.90 (it moves pixels by 4.00)" in text
    assert "Cores used at 224 px, batch 128, 2 threads, of 2" in text
    assert "all cores busy" in text


def test_ratios_pair_rounds_and_cores_are_counted(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, a_run())
    (place,) = summary.rows
    row = summary.row("dali", place)
    assert row is not None
    assert row.ratio is not None
    assert row.ratio.estimate == pytest.approx(2.0)
    assert row.ratio.samples == 6
    assert row.rate.estimate == pytest.approx(205)
    assert row.cores_used == pytest.approx(1.9)
    assert row.cpu_ms_per_pair == pytest.approx(1e3 * 1.9 / 205, rel=1e-3)
    assert row.bound_by == "cores"


@pytest.mark.parametrize(
    ("cpu_seconds", "threads", "bound"), [(2.0, 2, "cores"), (1.0, 1, "threads"), (1.0, 2, "waiting")]
)
def test_what_holds_a_loader_back(cpu_seconds: float, threads: int, bound: str, tmp_path: Path) -> None:
    one = rate("dali", 0, 100, window_seconds=(1.0,), cpu_seconds=cpu_seconds, threads=threads)
    summary = summary_of(tmp_path, [environment(), plan(), one])
    ((row,),) = summary.rows.values()
    assert row.bound_by == bound


def test_one_that_is_slower_or_undecided_is_said_so(tmp_path: Path) -> None:
    slow = {**SPEED, "torchvision-v2": 300.0, "torchvision": 200.0}
    said = loader_verdict(summary_of(tmp_path, a_run(speed=slow)))
    assert "torchvision-v2 is faster than dali" in said.headline
    assert "dali is shown neither faster nor slower than torchvision" in said.headline
    assert said.tone == "bad"


def test_a_fast_one_that_does_something_else_is_named(tmp_path: Path) -> None:
    run = [record for record in a_run() if not isinstance(record, LoaderFidelity)]
    run[2:2] = [fidelity(name, 0.0 if name == BASELINE else 0.8, 1.0) for name in SPEED]
    said = loader_verdict(summary_of(tmp_path, run))
    assert said.tone == "open"
    assert sum("does something else" in caveat for caveat in said.caveats) == 3
    assert not any(caveat.startswith(BASELINE) for caveat in said.caveats)


def test_failures_missing_rounds_and_few_rounds_are_caveats(tmp_path: Path) -> None:
    run = a_run(rounds=2)
    run = [r for r in run if not (isinstance(r, LoaderRate) and r.subject == "torchvision" and r.round == 1)]
    run.append(Failure(time=TIME, scenario="torchvision", stage="round 2", message="a worker ended"))
    said = loader_verdict(summary_of(tmp_path, run))
    assert said.tone == "bad"
    assert said.headline.endswith("torchvision failed.")
    text = "\n".join(said.caveats)
    assert "torchvision failed in round 2: a worker ended" in text
    assert "torchvision finished 1 of 2 rounds at 224 px, batch 128, 2 threads." in text
    assert "takes 6" in text


def test_tables_hold_batch_threads_and_fidelity(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, a_run(threads=(1, 2)))
    (table,) = rate_tables(summary)
    assert "batch 128" in table.title
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    dali = next(row for row in cells if (row["loader"], row["threads"]) == ("dali", "2"))
    assert (dali["decoder"], dali["ratio (95 %)"], dali["crop off"], dali["views off"]) == (
        "dali-cpu",
        "2.0× (2.0–2.0)",
        "0.17",
        "1.50",
    )
    assert {row[0]: row[-1] for row in growth_table(summary).rows} == {
        BASELINE: "100.0 %",
        "torchvision": "100.0 %",
        "torchvision-v2": "100.0 %",
        "dali": "70.7 %",
    }
    (of_operations,) = fidelity_tables(summary)
    assert [row[0] for row in of_operations.rows] == [CROP, "hue 0.1", WHOLE]
    assert of_operations.rows[1][1] == "4.00"


def test_a_terminal_shows_whole_names_and_the_verdict_first(tmp_path: Path) -> None:
    out = io.StringIO()
    report = load_loader_report([written(tmp_path / "records.jsonl", a_run(threads=(1, 2)))])
    print_loader_report(report, Console(file=out, width=130))
    text = out.getvalue()
    assert text.startswith("✓ dali makes 2.0×")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("threads", [(2,), (1, 2, 4)], ids=["bars", "lines"])
def test_pictures_show_every_loader(threads: tuple[int, ...], tmp_path: Path) -> None:
    pictures = loader_pictures(summary_of(tmp_path, a_run(threads=threads)))
    assert [picture.name for picture in pictures] == ["loader-rates", "loader-fidelity"]
    for picture in pictures:
        ElementTree.fromstring(picture.svg)
        for name in SPEED:
            assert name in picture.alt
            assert name in picture.svg
        for colour in range(4):
            assert f"var(--scenario-{colour})" in picture.svg


def test_the_page_escapes_what_records_hold_and_asks_for_nothing(tmp_path: Path) -> None:
    report = load_loader_report([written(tmp_path / "records.jsonl", a_run())])
    page = render_loader_html(report)
    assert "<b>set</b>" not in page
    assert "&lt;b&gt;set" in page
    assert_self_contained(Page(page), page)
    assert page == render_loader_html(report)
    assert "batch 128" in render_loader_markdown(report)


def test_files_from_before_these_records_are_still_reported(tmp_path: Path) -> None:
    old = PUBLISHED / "loader-first.jsonl"
    assert choose_kind([old]).name == "a run of bench loader"
    report = load_loader_report([old])
    summary = LoaderSummary(report)
    assert [place[:] for place in report.places] == [(224, 128, 2)]
    ratio = summary.ratio(BASELINE, "dali", report.places[0])
    assert ratio is not None
    assert (round(ratio.estimate, 2), ratio.samples) == (1.71, 6)
    said = loader_verdict(summary)
    assert any("was not measured" in caveat for caveat in said.caveats)
    assert [picture.name for picture in loader_pictures(summary)] == ["loader-rates"]
    assert set(write_loader_report([old], tmp_path)) == {"report.html", "report.md", "samples.csv"}


def test_two_runs_are_one_report_whose_rounds_pair_within_each(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{number}.jsonl", a_run(rounds=3)) for number in range(2)]
    report = load_loader_report(files)
    assert report.rounds == 6
    assert sorted({rate.round for rate in report.rates}) == list(range(6))
    assert not report.problems
    with pytest.raises(RecordError, match="once"):
        load_loader_report([files[0], files[0]])


def test_what_cannot_be_a_measurement_is_named_and_left_out(tmp_path: Path) -> None:
    run = a_run()
    run.append(rate("dali", 9, 100, window_seconds=(float("nan"),)))
    run.append(rate("dali", 10, 100, window_seconds=()))
    run.append(rate("dali", 11, 100, threads=0))
    run.append(rate("dali", 5, 190))
    file = written(tmp_path / "records.jsonl", run)
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"kind": "loader-rate", "torn')
    report = load_loader_report([file])
    text = "\n".join(report.problems)
    assert "a time that no window takes" in text
    assert "no window; left out" in text
    assert "below 1" in text
    assert "measured twice" in text
    assert "torn" in text
    assert max(rate.round for rate in report.rates) == 5


def test_a_run_that_was_cut_before_its_first_rate_is_a_report(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [environment(), plan()])
    assert loader_verdict(summary).headline.startswith("No loader was timed")
    assert not loader_pictures(summary)
    assert "No loader was timed" in render_loader_html(summary.report)


def test_records_of_something_else_are_refused(tmp_path: Path) -> None:
    other = Throughput(
        scenario="fast",
        mode="end-to-end",
        round=0,
        position=0,
        pid=1,
        batch_size=1,
        image_size=1,
        steps_per_window=1,
        window_seconds=(1.0,),
    )
    file = written(tmp_path / "records.jsonl", [environment(), other])
    assert choose_kind([file]).name == "a comparison"
    with pytest.raises(RecordError, match="no record of a loader"):
        load_loader_report([file])
    empty = written(tmp_path / "empty.jsonl", [])
    with pytest.raises(RecordError, match="no environment"):
        load_loader_report([empty])
