"""`vicreg-fast report`."""

from pathlib import Path

import click

from vicreg_fast.commands import common


@click.command(name="report")
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write report.html, report.md and samples.csv.  [default: beside the first FILE]",
)
@click.option("--quiet", "-q", is_flag=True, help="Write the files, print nothing but their names.")
def command(records: tuple[Path, ...], out: Path | None, quiet: bool) -> None:
    """Render record files of `vicreg-fast bench` (or folders that hold a records.jsonl) as one report."""
    from reports.load import load_report
    from reports.loss_load import holds_losses, load_loss_report
    from reports.loss_render import print_loss_report, write_loss_report
    from reports.render import print_report, write_report

    files = [path / "records.jsonl" if path.is_dir() else path for path in records]
    of_losses = holds_losses(files)
    written = (write_loss_report if of_losses else write_report)(files, out or files[0].parent)
    if not quiet and of_losses:
        print_loss_report(load_loss_report(files), common.stdout_console())
    elif not quiet:
        print_report(load_report(files), common.stdout_console())
    for path in written.values():
        click.echo(str(path))
