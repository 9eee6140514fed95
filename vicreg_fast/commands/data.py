"""`vicreg-fast data make|check|info`."""

from pathlib import Path

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import DataError


@click.group(name="data")
def command() -> None:
    """Make, check or describe a data set."""


@command.command(name="make")
@click.option(
    "--train",
    type=click.IntRange(0),
    default=common.BUILTIN_TRAIN,
    show_default=True,
    help="Training images.",
)
@click.option(
    "--test", type=click.IntRange(0), default=common.BUILTIN_TEST, show_default=True, help="Test images."
)
@click.option("--size", default="80x80", show_default=True, metavar="WxH", help="Pixels of each image.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to create.  [default: one in the user's cache]",
)
def make(train: int, test: int, size: str, seed: int, out: Path | None) -> None:
    """Draw the built-in data set: labelled JPEGs, the same for the same options."""
    from pipelines.builtin_set import builtin_set, make_builtin_set

    width, times, height = size.partition("x")
    if not times or not width.isdigit() or not height.isdigit():
        raise click.BadParameter(f"{size!r} must be WxH, such as 500x375", param_hint="--size")
    pixels = (int(width), int(height))
    with common.progress_bar("drawing") as advance:
        if out is None:
            folder = builtin_set(train=train, test=test, size=pixels, seed=seed, progress=advance)
        else:
            folder = make_builtin_set(out, train=train, test=test, size=pixels, seed=seed, progress=advance)
    click.echo(str(folder))


@command.command(name="check")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def check(folder: Path) -> None:
    """Decode every file in DIR and list those that cannot be used. Exit code 1 if there are any. Nothing is
    changed."""
    from pipelines.manifest import load_splits

    with common.progress_bar("decoding") as advance:
        splits = load_splits(folder, check="full", progress=advance)
    skipped = 0
    for split, manifest in splits.items():
        for file in manifest.skipped:
            click.echo(f"{split}: {file.name}: {file.reason}")
        skipped += len(manifest.skipped)
        click.echo(f"{split}: {len(manifest)} usable images, {len(manifest.skipped)} skipped")
    if skipped:
        raise DataError(f"{folder}: {skipped} files cannot be used; the rest can")


@command.command(name="info")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def info(folder: Path | None) -> None:
    """Describe the data set in DIR (default: the built-in one): splits, classes, sizes, formats."""
    from pipelines.manifest import load_splits
    from vicreg_fast.config import load_recipe

    where, _ = common.choose_data(folder, load_recipe("smoke"))
    for split, manifest in load_splits(where).items():
        click.echo(f"{split}:")
        for key, value in manifest.description().items():
            click.echo(f"  {key}: {value}")
        for name, count in manifest.images_by_class().items():
            click.echo(f"  class {name}: {count}")
