"""`vicreg-fast bench ceilings`: what the machine's products and copies reach."""

from pathlib import Path

import click

from vicreg_fast.commands import common
from vicreg_fast.commands.bench_sampling import names_type

DTYPES = ("bfloat16", "float16", "tf32", "float32")


@click.command(name="ceilings")
@click.option(
    "--dtypes",
    type=names_type(*DTYPES),
    help=f"Any of {', '.join(DTYPES)}, joined by commas.  [default: bfloat16,tf32,float32; on a CPU float32]",
)
@common.device_option
@common.out_option
def ceilings(dtypes: tuple[str, ...] | None, device: str, out: Path | None) -> None:
    """Measure how fast matrix products and copies run here: the ceilings from which floors are computed.

    The best of several large products in each dtype, and of several large copies. Writes records.jsonl.
    """
    folder = common.new_records_folder(out, "ceilings")
    from bench.environment import measure_environment
    from bench.roofline import measure_ceilings

    on = common.choose_device(device)
    asked = dtypes or (("bfloat16", "tf32", "float32") if on.type == "cuda" else ("float32",))
    with common.recording(folder / "records.jsonl") as writer:
        writer.write(measure_environment())
        for dtype in asked:
            (ceiling,) = measure_ceilings((dtype,), on)
            writer.write(ceiling)
            click.echo(
                f"{dtype:<9} {ceiling.flops_per_second / 1e12:8.2f} TFLOP/s in products of "
                f"{ceiling.product_size}², copies {ceiling.bytes_per_second / 1e9:.1f} GB/s"
            )
    click.echo(f"records {folder / 'records.jsonl'}")
