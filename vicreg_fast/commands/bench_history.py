"""`vicreg-fast bench history`."""

import json
from pathlib import Path

import click

from vicreg_fast.commands import common

RECENT = 10
"""Enough that a slowdown is seen before it has passed: a change takes two points after it to be found, and
in a noisy series some more. Few enough that one which was looked at and accepted soon is no alarm any more.
"""


@click.command(name="history")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR..."
)
@click.option(
    "--recent",
    type=click.IntRange(1),
    default=RECENT,
    show_default=True,
    help="How many of the last points of a series count as recent.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with 1 if the last change of a series is a recent slowdown."
)
@click.option("--json", "as_json", is_flag=True, help="Print every series, point and change as JSON instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write report.html with a picture of each series, report.md and points.csv there.",
)
def history(paths: tuple[Path, ...], recent: int, strict: bool, as_json: bool, out: Path | None) -> None:
    """Show how stored measurements changed over time, and between which commits.

    Takes records of `bench loss --against`, `bench loss` and `bench --compare`, pytest-benchmark's JSON, and
    folders of them, searched at any depth. A series is one case on one machine; machines are never joined.
    """
    from bench.history import load_history
    from reports.history import history_json, slowed_series
    from reports.history_render import print_history, write_history

    found = load_history(paths)
    if as_json:
        click.echo(json.dumps(history_json(found, recent), ensure_ascii=False, indent=1))
    else:
        print_history(found, recent, common.stdout_console())
    if out is not None:
        for path in write_history(found, recent, out).values():
            click.echo(str(path), err=as_json)
    if strict and slowed_series(found, recent):
        raise click.exceptions.Exit(1)
