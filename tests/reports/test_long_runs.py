"""A run of many rounds: what its report costs and how long its page is."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from bench.record import Environment, Plan
from reports.frames import samples_csv
from reports.load import load_report
from reports.render import render_html


def long_run(new_run, rounds: int) -> Path:
    """The file of a run of three scenarios, timed in two modes."""
    run = new_run("baseline", "tuned", "fast", rounds=rounds)
    for number, name in enumerate(("baseline", "tuned", "fast")):
        for mode in ("end-to-end", "compute-only"):
            run.throughput(name, [100.0 + 40 * number + round_ % 11 for round_ in range(rounds)], mode)
    header = [Environment(**run.environment), Plan(scenarios=run.scenarios, **run.plan)]
    run.file.write_text("".join(record.model_dump_json() + "\n" for record in (*header, *run.records)))
    return run.file


def render_page(file: Path) -> str:
    return render_html(load_report([file]))


def lines_run(call: Callable[[], object]) -> int:
    """Lines of the packages `bench` and `reports` that a call runs, each as often as it is run."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace if frame.f_globals.get("__name__", "").startswith(("bench.", "reports.")) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def test_the_work_of_a_report_grows_with_its_rounds_and_not_with_their_square(new_run) -> None:
    files = [long_run(new_run, rounds) for rounds in (30, 60, 120)]
    render_page(files[0])  # what is imported and kept at the first
    few, some, many = (lines_run(partial(render_page, file)) for file in files)
    assert many - some < 2.1 * (some - few), (few, some, many)


def test_ten_thousand_records_make_a_page_that_can_be_read(new_run) -> None:
    file = long_run(new_run, 1667)
    html = render_page(file)
    # The records and the samples, in base64, and beside them a page of no more than a megabyte.
    report = load_report([file])
    assert len(report.records) == 10_002 + 2
    lines = "".join(record.model_dump_json() + "\n" for record in report.records)
    assert len(html) < 4 / 3 * (len(lines) + len(samples_csv(report))) + 1e6
    assert html.count("<tr>") < 2000
