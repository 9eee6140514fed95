"""`vicreg-fast bench loss --against FILE|REV`: is the loss slower than it was?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from vicreg_fast.commands import common
from vicreg_fast.commands.common import F
from vicreg_fast.errors import BaselineError, BenchmarkError, RecordError, UsageError

ROUNDS, MOST_ROUNDS, PAIRS = 7, 14, 20


@dataclass(frozen=True, kw_only=True)
class Against:
    """The options of `bench loss` that go with --against; None where one was not given."""

    against: str
    cases: str | None
    """Names, joined by commas."""
    rounds: int | None
    pairs: int | None
    threads: int | None
    device: str
    gates_only: bool
    timing_too: bool
    strict: bool
    junit: Path | None
    summary: Path | None
    out: Path | None


def against_options(command: F) -> F:
    """Adds --against, and what goes with it only."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--against",
        metavar="FILE|REV",
        help="Compare our loss with a revision of this checkout, with the records of an earlier run, or with "
        "the file that pytest --benchmark-json wrote for bench/suite_loss.",
    ),
    click.option("--cases", metavar="NAME,...", help="With --against: only these cases, all of them timed."),
    click.option(
        "--rounds",
        type=click.IntRange(2),
        help="With --against: how many processes each side runs.  "
        f"[default: {ROUNDS}, and up to {MOST_ROUNDS} on a noisy machine]",
    ),
    click.option("--gates-only", is_flag=True, help="With --against: compare exact counts and time nothing."),
    click.option(
        "--timing-too", is_flag=True, help="With --against: time the cases even if a count has risen."
    ),
    click.option("--strict", is_flag=True, help="With --against: exit with 3 if the result is inconclusive."),
    click.option(
        "--junit",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="With --against: write a JUnit report.",
    ),
    click.option(
        "--summary",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help='With --against: append the verdict as Markdown, for example to "$GITHUB_STEP_SUMMARY".',
    ),
)


def refuse_others(**given: object) -> None:
    """Raises UsageError for an option of `bench loss` that says nothing with --against."""
    for name, value in given.items():
        if value:
            raise UsageError(
                f"--{name} cannot be used with --against, whose cases have their own shapes; "
                "choose with --cases"
            )


def refuse_alone(given: dict[str, Any]) -> None:
    """Raises UsageError for an option that goes with --against, where that is not given."""
    for name, value in given.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} needs --against FILE|REV")


def run_against(options: Against) -> int:
    """Measures, reports, and returns the exit code: 0 fine, 1 a regression, 3 inconclusive with --strict,
    4 a case that failed or is missing, 5 a base that cannot be compared with. Raises BaselineError for a
    base that is missing and BenchmarkError for a head that cannot be run, both told in the JUnit report."""
    try:
        with common.ended_by_sigterm():
            return _run_against(options)
    except (BaselineError, BenchmarkError) as error:
        if options.junit is not None:
            from reports.junit import failed_junit

            kind = "failed" if isinstance(error, BenchmarkError) else "not comparable"
            _write_junit(failed_junit(str(error), kind), options.junit)
        raise


def _run_against(options: Against) -> int:
    from bench.regression import RegressionRun
    from bench.regression_base import StoredBase, find_base
    from bench.regression_plan import Regression

    if options.gates_only and options.timing_too:
        raise UsageError("--gates-only and --timing-too exclude each other")
    if options.gates_only and (options.rounds or options.pairs):
        raise UsageError("--gates-only times nothing: leave out --rounds and --pairs")
    folder = common.new_records_folder(options.out, "regression")
    base = find_base(options.against)
    for problem in base.problems if isinstance(base, StoredBase) else ():
        click.echo(f"vicreg-fast: {problem}; left out", err=True)
    regression = Regression(
        base=base,
        command=common.command_line(),
        device=options.device,
        threads=options.threads,
        cases=tuple(dict.fromkeys(name.strip() for name in options.cases.split(",")))
        if options.cases is not None
        else None,
        rounds=options.rounds or ROUNDS,
        most_rounds=options.rounds or MOST_ROUNDS,
        pairs=options.pairs or PAIRS,
        gates_only=options.gates_only,
        timing_too=options.timing_too,
    )
    records = folder / "records.jsonl"
    with common.stage_view() as show, RegressionRun(regression, show) as run:
        run.start()
        with common.recording(records) as writer:
            judgement = run.run(writer.write)
    _report(records, options)
    return judgement.exit_code(strict=options.strict)


def _report(records: Path, options: Against) -> None:
    from reports.junit import regression_junit
    from reports.regression_load import load_regression
    from reports.regression_render import (
        print_regression_report,
        render_regression_markdown,
        write_regression_report,
    )

    written = write_regression_report([records], records.parent)
    report = load_regression([records])
    if options.junit is not None:
        _write_junit(regression_junit(report.judgement, report.records), options.junit)
    if options.summary is not None:
        _append(options.summary, render_regression_markdown(report))
    print_regression_report([records], common.stdout_console())
    click.echo(f"records {records}\nreport  {written['report.html']}")


def _write_junit(text: str, path: Path) -> None:
    from reports.render import write_files

    write_files({path.name: text}, path.parent, "--junit")


def _append(path: Path, text: str) -> None:
    """Several steps of a job share a GITHUB_STEP_SUMMARY."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RecordError(f"--summary {path}: cannot be written ({error.strerror})") from error
