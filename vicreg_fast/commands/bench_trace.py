"""`vicreg-fast bench trace`: what a trace says, without a viewer."""

from pathlib import Path

import click

from vicreg_fast.errors import RecordError

SUFFIXES = ("*.pt.trace.json", "*.pt.trace.json.gz")


@click.command(name="trace")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
def trace(paths: tuple[Path, ...]) -> None:
    """Show where the time of traced steps went. PATH is a trace from torch.profiler, or a folder with some.

    Reads what `bench --trace` and `pretrain --trace` wrote, without importing torch.
    """
    from vicreg_fast.training.trace_summary import summarize_trace

    for path in paths:
        for file in _traces(path):
            click.echo(f"{file}\n{summarize_trace(file).table()}")


def _traces(path: Path) -> list[Path]:
    """The file, or every trace below the folder. Raises RecordError where there is none."""
    if not path.is_dir():
        return [path]
    found = sorted(file for suffix in SUFFIXES for file in path.rglob(suffix))
    if not found:
        raise RecordError(f"{path}: contains no trace (*.pt.trace.json.gz); make one with `bench --trace`")
    return found
