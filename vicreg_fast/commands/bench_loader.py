"""`vicreg-fast bench loader`."""

from pathlib import Path

import click

from vicreg_fast.commands import common
from vicreg_fast.commands.common import out_option


@click.command(name="loader")
@common.data_option
@click.option(
    "--image-size", type=click.IntRange(8), default=224, show_default=True, help="Side of a view, in pixels."
)
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--augmentation", default="official", show_default=True)
@click.option(
    "--workers", type=click.IntRange(1), help="Workers, or threads.  [default: the cores, at most 16]"
)
@click.option("--rounds", type=click.IntRange(1), default=6, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Of each, in each round."
)
@common.device_option
@out_option
def loader(
    data: Path | None,
    image_size: int,
    batch_size: int,
    augmentation: str,
    workers: int | None,
    rounds: int,
    seconds: float,
    device: str,
    out: Path | None,
) -> None:
    """Time the loaders alone, pairs of views a second, interleaved: the authors' (torchvision's stock
    transforms to float views, on a CPU), our torchvision pipeline, and DALI.

    Without --data it draws 500×375 JPEGs.
    """
    import numpy as np

    from bench.compare import throughput_ratio
    from bench.environment import measure_environment
    from bench.loader import LOADERS, measure_loaders
    from bench.record import RecordWriter, Throughput
    from pipelines.builtin_set import builtin_set
    from pipelines.manifest import load_manifest

    folder = common.new_records_folder(out, "loader")
    on = common.choose_device(device)
    if data is None:
        with common.progress_bar("drawing 500×375 images") as advance:
            data = builtin_set(train=max(256, 4 * batch_size), test=0, size=(500, 375), progress=advance)
    manifest = load_manifest(data)
    writer = RecordWriter(folder / "records.jsonl")
    records: list[Throughput] = []
    try:
        writer.write(measure_environment())
        with common.stage_view() as show:
            show("measuring the loaders in turn", 0, 1)
            records = measure_loaders(
                manifest,
                augmentation=augmentation,
                image_size=image_size,
                batch_size=batch_size,
                workers=workers or 0,
                rounds=rounds,
                seconds=seconds,
                device=on,
                pipelines=LOADERS if on.type == "cpu" else LOADERS[1:],
            )
        for record in records:
            writer.write(record)
    finally:
        writer.close()
    for name in LOADERS:
        rates = [float(np.median(r.pairs_per_second)) for r in records if r.scenario == name]
        if rates:
            click.echo(f"{name:18} {np.median(rates):8.1f} pairs/s (median of {len(rates)} rounds)")
    for name in LOADERS[:-1]:
        ratio = throughput_ratio(records, name, "dali", "loader-only")
        if ratio is not None:
            interval = f"95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
            click.echo(f"DALI ÷ {name}: {ratio.estimate:.2f} ({interval})")
    click.echo(f"records {writer.path}")
