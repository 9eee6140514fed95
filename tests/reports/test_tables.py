"""Frames hold the numbers, tables their text; Markdown stays a table whatever the names are."""

import csv
import io
import math
import re

import pytest
from rich.console import Console

from bench.compare import throughput_ratio
from bench.record import Startup
from reports.frames import accuracy_frame, environment_frame, memory_frame, samples_csv, throughput_frame
from reports.summary import summarise
from reports.tables import (
    accuracy_table,
    environment_table,
    markdown_table,
    memory_table,
    rich_table,
    scenario_table,
    throughput_table,
)

HOSTILE = "a|b `x` <img src=x> [u](v)\nnext\x1b[31m"


def test_throughput_numbers(new_run) -> None:
    run = new_run().throughput("baseline", [90.0, 100.0, 110.0], wait=0.25)
    frame = throughput_frame(summarise(run.throughput("fast", [180.0, 200.0, 220.0]).report()))
    assert frame["scenario"].tolist() == ["baseline", "fast"]
    assert frame["pairs_per_second"].tolist() == pytest.approx([100.0, 200.0])
    assert frame["pairs_per_second_low"].tolist() == pytest.approx([90.0, 180.0])
    assert math.isnan(frame["ratio"][0])
    assert frame["ratio"][1] == pytest.approx(2.0)
    assert frame["loader_wait_percent"][0] == pytest.approx(25.0)
    assert math.isnan(frame["loader_wait_percent"][1])
    assert frame["rounds"].tolist() == [3, 3]


def test_a_ratio_is_the_one_the_bench_computes(full_run) -> None:
    report = full_run.report()
    for (name, mode), rate in summarise(report).rates.items():
        if name != "baseline":
            assert rate.ratio == throughput_ratio(report.throughputs, "baseline", name, mode)


def test_throughput_text(new_run) -> None:
    run = new_run().throughput("baseline", [90.0, 100.0, 110.0], wait=0.25)
    table = throughput_table(summarise(run.throughput("fast", [180.0, 200.0, 220.0]).report()))
    assert table.rows[0] == ("baseline", "end-to-end", "100", "90.0–110", "–", "–", "25.0 %", "3")
    assert table.rows[1] == ("fast", "end-to-end", "200", "180–220", "2.0×", "2.0–2.0", "–", "3")


def test_set_up_is_a_column_where_it_was_measured(new_run) -> None:
    run = new_run().throughput("fast", [180.0]).throughput("fast", [200.0], "compute-only")
    assert "set-up" not in throughput_table(summarise(run.report())).columns
    run = new_run().throughput("baseline", [90.0]).throughput("fast", [180.0])
    run.throughput("fast", [200.0], "compute-only").records.append(Startup(scenario="fast", seconds=9.04))
    report = run.report()
    table = throughput_table(summarise(report))
    assert table.columns[-2:] == ("rounds", "set-up")
    assert [row[-1] for row in table.rows] == ["–", "9.0 s", "–"]
    (row,) = [row for row in csv.DictReader(io.StringIO(samples_csv(report))) if row["kind"] == "startup"]
    assert (row["subject"], row["metric"], row["value"], row["unit"]) == ("fast", "setup", "9.04", "s")


def test_memory_takes_the_largest_of_several_records(new_run) -> None:
    run = new_run().memory("baseline", 2.0).memory("baseline", 4.0).memory("fast", 1.0)
    summary = summarise(run.report())
    assert memory_frame(summary)["host_over_start_gib"].tolist() == pytest.approx([4.0, 1.0])
    assert memory_table(summary).rows == (
        ("baseline", "4.00 GiB", "–", "–"),
        ("fast", "1.00 GiB", "–", "0.25×"),
    )


def test_accuracy_over_seeds(new_run) -> None:
    run = (
        new_run()
        .accuracy("baseline", [60.0, 62.0])
        .accuracy("fast", [61.0, 63.0])
        .accuracy("raw-pixels", [37.0])
    )
    summary = summarise(run.report())
    frame = accuracy_frame(summary)
    assert frame["mean_percent"].tolist() == pytest.approx([61.0, 62.0, 37.0])
    assert frame["sd_points"][0] == pytest.approx(math.sqrt(2))
    assert frame["difference_points"][1] == pytest.approx(1.0)
    assert frame["seed_1_percent"].tolist()[:2] == pytest.approx([62.0, 63.0])
    assert accuracy_table(summary).rows == (
        ("baseline", "61.0 ± 1.4 %", "–", "–", "–", "60.0 (0), 62.0 (1)"),
        ("fast", "62.0 ± 1.4 %", "+1.0", "+1.0 to +1.0", "non-inferior", "61.0 (0), 63.0 (1)"),
        ("raw-pixels", "37.0 %", "–", "–", "–", "37.0 (0)"),
    )


def test_frames_of_an_empty_run_keep_their_columns(new_run) -> None:
    summary = summarise(new_run().report())
    for frame in (throughput_frame(summary), memory_frame(summary), accuracy_frame(summary)):
        assert len(frame) == 0
        assert len(frame.columns) >= 4


def test_environment_has_every_field_and_version(new_run) -> None:
    run = new_run()
    run.environment["environment_variables"] = {"OMP_NUM_THREADS": "4"}
    report = run.report()
    frame = environment_frame(report).set_index("field")["value"]
    assert (frame["processor"], frame["torch"], frame["cores"]) == ("Test CPU", "2.15.0", 8)
    rows = dict(environment_table(report).rows)
    assert (rows["memory"], rows["gpu count"], rows["torch"]) == ("32.0 GiB", "0", "2.15.0")
    assert rows["OMP_NUM_THREADS"] == "4"


def test_samples_are_every_raw_number_in_full(new_run) -> None:
    run = new_run().throughput("fast", [300.0, 100.0], wait=0.5).memory("fast", 1.0)
    text = samples_csv(run.accuracy("fast", [61.0], [(10.0, 50.0)]).report())
    rows = list(csv.DictReader(io.StringIO(text)))
    windows = [float(row["value"]) for row in rows if row["metric"] == "window"]
    assert windows == [2560 / 300.0] * 2 + [25.6] * 2
    assert sum(row["metric"] == "loader_wait" for row in rows) == 4
    (peak,) = [row for row in rows if row["metric"] == "host_peak"]
    assert (peak["value"], peak["unit"]) == (str(2 * 2**30), "bytes")
    (point,) = [row for row in rows if row["metric"] == "curve_linear_top1"]
    assert (point["seconds"], point["value"]) == ("10.0", "0.5")


def test_markdown_is_a_table_whatever_the_names(new_run, new_scenario) -> None:
    run = new_run("baseline", new_scenario("fast", notes=(HOSTILE,)), new_scenario(HOSTILE))
    text = markdown_table(scenario_table(run.report()))
    lines = text.splitlines()
    assert lines[:2] == ["### Scenarios", ""]
    cells = [re.split(r"(?<!\\)\|", line) for line in lines[2:]]
    assert len(cells) == 2 + 3
    assert {len(row) for row in cells} == {10 + 2}
    assert set(lines[3]) <= set("|-: ")
    # Unescaped, these would be an image, a link or code.
    assert not re.search(r"(?<!\\)[<`\[]", text)
    assert "\x1b" not in text


def test_a_terminal_shows_names_as_they_are(new_run) -> None:
    run = new_run("baseline", "[red]fast", contender="[red]fast").throughput("[red]fast", [100.0])
    console = Console(file=io.StringIO(), width=120)
    console.print(rich_table(throughput_table(summarise(run.report()))))
    assert "[red]fast" in console.file.getvalue()  # type: ignore[attr-defined]
