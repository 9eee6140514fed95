"""Writes what the published records say into the documents: `python -m reports.publish [--check]`.

`docs/RESULTS.md` and the pictures are written whole; in `README.md` the block between its two markers. With
`--check` nothing is written, and the exit code is 1 where a document is not what the records say. Needs no
torch.
"""

import sys
from pathlib import Path

import click

from reports.publications import load_publications
from reports.published_pictures import readme_pictures
from reports.published_readme import COMPARISON, around_block, readme_block
from reports.published_results import results_page
from vicreg_fast.errors import RecordError, VICRegFastError

ROOT = Path(__file__).resolve().parents[1]


def documents(root: Path) -> dict[Path, str]:
    """Each document of the checkout at `root` with the text that its published records make of it.

    Raises RecordError, in one line, where the records or the README cannot be read, or where `root` is no
    checkout.
    """
    readme = root / "README.md"
    if not readme.is_file():
        raise RecordError(f"{root}: holds no README.md; run this in a checkout of the repository")
    before, after = around_block(_text(readme))
    published = load_publications(root / "reports" / "published")
    pictures = readme_pictures(published.newest(COMPARISON).comparison)
    return {
        readme: before + readme_block(published, pictures) + after,
        root / "docs" / "RESULTS.md": results_page(published),
        **{
            root / "docs" / "pictures" / f"{picture.name}-{theme}.svg": svg
            for picture in pictures
            for theme, svg in picture.svg.items()
        },
    }


def stale(root: Path) -> list[Path]:
    """The documents that are not what the records say."""
    return [file for file, text in documents(root).items() if not file.is_file() or _text(file) != text]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; end with 1 where a document is out of date.")
def main(check: bool) -> None:
    """Write docs/RESULTS.md and the README's numbers and pictures from the records in reports/published."""
    try:
        if check:
            for file in (found := stale(ROOT)):
                name = file.relative_to(ROOT)
                click.echo(f"{name}: is not what the records say; run python -m reports.publish", err=True)
            sys.exit(bool(found))
        for file, text in documents(ROOT).items():
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            click.echo(str(file.relative_to(ROOT)))
    except VICRegFastError as error:
        click.echo(f"reports.publish: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
