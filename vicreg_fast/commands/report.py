"""`vicreg-fast report`."""

from pathlib import Path
from typing import Any

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import UsageError


class _Report(click.Group):
    """Renders its arguments, unless the first is the name of a subcommand: a folder of that name is
    `./compare`.
    """

    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            # Not below a context of this command: its usage would show PATH... on the way to the subcommand.
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        return click.Command.invoke(self, ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return click.Command.collect_usage_pieces(self, ctx)


@click.group(cls=_Report, name="report", no_args_is_help=False)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write report.html, report.md and any other files.  [default: beside the first PATH]",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the verdict there as JUnit XML.",
)
@click.option("--quiet", "-q", is_flag=True, help="Write the files, print nothing but their names.")
def command(paths: tuple[Path, ...], out: Path | None, junit: Path | None, quiet: bool) -> None:
    """Render as one page what a bench wrote (record files, or folders that hold a records.jsonl), the folder
    of a pretraining run, or a linear.json. Or put two runs beside each other: `report compare A B`.
    """
    from reports.dispatch import choose_kind

    kind = choose_kind(paths)
    if junit is not None and kind.junit is None:
        raise UsageError(f"--junit {junit}: {paths[0]} is {kind.name}, which has no verdict; leave it out")
    folder = out or (paths[0] if paths[0].is_dir() else paths[0].parent)
    written = list(kind.write(paths, folder).values())
    if junit is not None and kind.junit is not None:
        from reports.render import write_files

        written += write_files({junit.name: kind.junit(paths)}, junit.parent, "--junit").values()
    if not quiet:
        kind.print(paths, common.stdout_console())
    for path in written:
        click.echo(str(path))


@command.command(name="compare", short_help="Put run B beside run A.")
@click.argument("a", type=click.Path(path_type=Path), metavar="A")
@click.argument("b", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--allow",
    multiple=True,
    metavar="FIELD",
    help="Compare even though this field differs; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write compare.html, compare.md and compare.csv there.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but the names of the files written.")
def compare(a: Path, b: Path, allow: tuple[str, ...], out: Path | None, quiet: bool) -> None:
    """Put run B beside run A: speed, memory and accuracy of what both measured.

    A and B are records of `bench --compare`, `bench loss` or `bench loss --against`, or their folders. Runs
    of another machine, version, recipe or data set are refused with exit code 5, and the field is named; the
    commit may differ. To render a folder that is named compare: `report ./compare`.
    """
    from reports.compare_render import print_compared, write_compared
    from reports.report_compare import compare_runs
    from reports.sides import load_side

    compared = compare_runs(load_side(a), load_side(b), allow)
    if not quiet:
        print_compared(compared, common.stdout_console())
    if out is not None:
        for path in write_compared(compared, out).values():
            click.echo(str(path))
