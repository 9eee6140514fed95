"""`vicreg-fast bench loader`: the loaders alone, how fast each is, and how far its views are from the
official ones."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    from bench.loader_bench import LoaderBench
    from pipelines.manifest import Manifest

LARGEST = 2**20


class _Numbers(click.ParamType):
    """Whole numbers joined by commas, each at least `least`."""

    name = "numbers"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if not isinstance(value, str):
            return value
        words = [word.strip() for word in value.split(",")]
        numbers = [int(word) for word in words if word.isascii() and word.isdecimal() and len(word) < 10]
        if len(numbers) < len(words) or not all(self._least <= n <= LARGEST for n in numbers):
            self.fail(
                f"{value!r} is not a list of whole numbers of at least {self._least}, such as 1,2,4",
                param,
                ctx,
            )
        return tuple(sorted(set(numbers)))


class _Names(click.ParamType):
    name = "names"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(name.strip() for name in value.split(",")))


def _seconds(least: float) -> Callable[[click.Context, click.Parameter, float], float]:
    def check(_: click.Context, parameter: click.Parameter, value: float) -> float:
        if not least <= value <= 1e6:  # NaN is not, which click's own range lets through
            raise click.BadParameter(f"{value} is not in the range from {least} to 1,000,000 seconds")
        return value

    return check


@click.command(name="loader")
@common.data_option
@click.option(
    "--pipelines",
    type=_Names(),
    metavar="NAME,...",
    help="Any of torchvision-stock (the authors'), torchvision, torchvision-v2, dali.  [default: all]",
)
@click.option(
    "--decoders",
    type=_Names(),
    metavar="NAME,...",
    help="Any of pil, pil-draft, torchvision-io, dali-cpu, dali-cpu-cache, and on a GPU dali-mixed, "
    "dali-mixed-cache; each pipeline is measured with all of these that it supports.  "
    "[default: each pipeline's own]",
)
@click.option(
    "--threads",
    "--workers",
    "threads",
    type=_Numbers(1),
    metavar="N,...",
    help="Threads, or worker processes.  [default: one for each core, at most 16]",
)
@click.option(
    "--sizes",
    "--image-size",
    "image_sizes",
    type=_Numbers(8),
    default="224",
    show_default=True,
    metavar="N,...",
    help="Side of a view, in pixels.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    type=_Numbers(1),
    default="128",
    show_default=True,
    metavar="N,...",
    help="Pairs of views in a batch.",
)
@click.option("--augmentation", default="official", show_default=True, help="official or small-images.")
@click.option("--rounds", type=click.IntRange(1), default=6, show_default=True)
@click.option(
    "--seconds",
    type=float,
    default=5.0,
    show_default=True,
    callback=_seconds(0.01),
    help="How long each loader is measured in each round.",
)
@click.option(
    "--patience",
    type=float,
    default=120.0,
    show_default=True,
    callback=_seconds(0.1),
    help="Seconds without a batch after which a loader counts as hung.",
)
@common.device_option
@common.out_option
def loader(
    data: Path | None,
    pipelines: tuple[str, ...] | None,
    decoders: tuple[str, ...] | None,
    threads: tuple[int, ...] | None,
    image_sizes: tuple[int, ...],
    batch_sizes: tuple[int, ...],
    augmentation: str,
    rounds: int,
    seconds: float,
    patience: float,
    device: str,
    out: Path | None,
) -> None:
    """Time the loaders alone, in pairs of views a second, and measure how far each one's views are from the
    official ones: the authors' loader (torchvision's stock transforms to float views), our torchvision
    pipeline, torchvision.transforms.v2 on tensors, and DALI.

    Lists of threads, sizes and batch sizes are measured as a grid. Without --data it draws 500×375 JPEGs.
    Writes records.jsonl, report.html, report.md and samples.csv. Exit code 4 if a loader failed; the others
    are still measured.
    """
    from pipelines.spec import AUGMENTATIONS

    if augmentation not in AUGMENTATIONS:
        raise UsageError(f"--augmentation {augmentation}: must be {' or '.join(AUGMENTATIONS)}")
    folder = common.new_records_folder(out, "loader")

    from bench.loader_bench import LoaderBench
    from bench.loader_kinds import choose_loaders
    from pipelines.factory import default_workers

    on = common.choose_device(device)
    subjects = choose_loaders(
        pipelines, decoders, on_gpu=on.type == "cuda", dali_obstacle=_dali_obstacle(on.type)
    )
    manifest, described = _images(data, max(batch_sizes))
    bench = LoaderBench(
        subjects=subjects,
        manifest=manifest,
        data=described,
        device=str(on),
        augmentation=augmentation,
        threads=threads or (default_workers(),),
        image_sizes=image_sizes,
        batch_sizes=batch_sizes,
        rounds=rounds,
        seconds=seconds,
        patience=patience,
        command=common.command_line(),
    )
    _run(bench, folder)


def _dali_obstacle(device_type: str) -> str | None:
    """Why DALI cannot be used on `cpu` or `cuda`; None where it can."""
    from pipelines.dali_views import require_dali

    try:
        require_dali(device_type)
    except UsageError as error:
        return str(error)
    return None


def _images(data: Path | None, batch_size: int) -> "tuple[Manifest, str]":
    """The images, and what they are in words. Raises DataError when they are fewer than a batch."""
    from pipelines.builtin_set import builtin_set
    from pipelines.manifest import load_manifest

    name = "built-in set" if data is None else data.name or str(data)
    if data is None:
        with common.progress_bar("drawing 500×375 images") as advance:
            data = builtin_set(train=max(256, 4 * batch_size), test=0, size=(500, 375), progress=advance)
    with common.progress_bar("checking the images") as advance:
        manifest = load_manifest(data, progress=advance)
    manifest.require_batch(batch_size)
    sizes = sorted(zip(manifest.widths, manifest.heights, strict=True))
    (width, height), formats = sizes[len(sizes) // 2], "/".join(sorted(set(manifest.formats)))
    return manifest, f"{name}, {len(manifest):,} images ({formats}), {width}×{height} pixels in the middle"


def _run(bench: "LoaderBench", folder: Path) -> None:
    from bench.environment import measure_environment
    from bench.loader_bench import LoaderBenchRun
    from reports.loader_load import load_loader_report
    from reports.loader_render import print_loader_report, write_loader_report

    records = folder / "records.jsonl"
    with common.ended_by_sigterm(), common.recording(records) as writer:
        writer.write(measure_environment())
        with (
            common.stage_view() as show,
            LoaderBenchRun(bench, writer.write, show) as run,
        ):
            run.run()
    written = write_loader_report([records], folder)
    print_loader_report(load_loader_report([records]), common.stdout_console())
    click.echo(f"records {records}\nreport  {written['report.html']}")
    for subject in bench.subjects:
        if subject.obstacle is not None:
            click.echo(f"vicreg-fast: {subject.name} was left out: {subject.obstacle}", err=True)
    for failure in run.failed:
        click.echo(f"vicreg-fast: {failure}", err=True)
    if run.failed:
        raise click.exceptions.Exit(4)
