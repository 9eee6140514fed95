"""`vicreg-fast bench scaling`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.gpu_rates import PRESETS, GpuRates
from vicreg_fast.commands import common
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    from bench.record import Record

LARGEST = 2**20


class _WorldSizes(click.ParamType):
    """`1,8,64`, or `1-4096`: the powers of two from one to the other."""

    name = "ranks"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if not isinstance(value, str):
            return value
        first, dash, last = value.partition("-")
        words = (first, last) if dash else value.split(",")
        try:
            sizes = [int(word) for word in words]
        except ValueError:
            sizes = []
        if not sizes or not all(1 <= size <= LARGEST for size in sizes) or (dash and sizes[0] > sizes[1]):
            self.fail(
                f"{value!r} is neither a list as 1,8,64 nor a range as 1-4096, within 1 to {LARGEST:,}",
                param,
                ctx,
            )
        if dash:
            sizes = [2**power for power in range(LARGEST.bit_length()) if sizes[0] <= 2**power <= sizes[1]]
            if not sizes:
                self.fail(f"{value!r} contains no power of two; list the ranks, such as 3,5,6", param, ctx)
        return tuple(sorted(set(sizes)))


POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command(name="scaling")
@click.option(
    "--ranks",
    type=_WorldSizes(),
    default="1-4096",
    show_default=True,
    help="World sizes: 1,8,64, or 1-4096 for the powers of two between.",
)
@click.option(
    "--n", type=click.IntRange(2), default=256, show_default=True, help="Rows of each view on one rank."
)
@click.option("--dim", type=click.IntRange(1), default=8192, show_default=True, help="Embedding dimension D.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32", "float64"]),
    default="bfloat16",
    show_default=True,
    help="Dtype of the embeddings.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "torch", "triton"]),
    default="auto",
    show_default=True,
    help="Backend of our loss; triton is used wherever it has a kernel.",
)
@click.option("--tf32", is_flag=True, help="Run float32 products in TF32.")
@click.option(
    "--gpu",
    type=click.Choice(list(PRESETS)),
    default="h100-ib",
    show_default=True,
    help="GPU whose rates to start from.",
)
@click.option("--matmul-tflops", type=POSITIVE, help="Rate of products in --dtype (TF32 with --tf32).")
@click.option("--memory-gbytes", type=POSITIVE, help="Rate of a copy, reads plus writes, in GB/s.")
@click.option("--link-gbytes", type=POSITIVE, help="Rate at which each rank of a ring receives, in GB/s.")
@click.option("--latency-us", type=click.FloatRange(0), help="Latency of one step of a ring.")
@click.option("--kernel-us", type=click.FloatRange(0), help="Time from one small kernel's start to the next.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Records of `bench loss` on a GPU to check the model against; may be repeated.",
)
@common.out_option
def scaling(
    ranks: tuple[int, ...],
    n: int,
    dim: int,
    dtype: str,
    backend: str,
    tf32: bool,
    gpu: str,
    against: tuple[Path, ...],
    out: Path | None,
    **given: float | None,
) -> None:
    """Predict what the loss costs on many ranks, ours and the authors': FLOPs, bytes and time of each rank.

    This is a model on paper: no GPU is used, and nothing is timed.

    Writes records.jsonl, report.html and report.md.
    """
    if tf32 and dtype != "float32":
        raise UsageError(
            f"--tf32 applies to float32 products, not to {dtype}; leave it out, or use --dtype float32"
        )
    rates = _rates(PRESETS[gpu], "tf32" if tf32 else dtype, given)
    folder = common.new_records_folder(out, "scaling")
    measured = [record for path in against for record in _read(path)]

    import torch

    from bench import scaling as model
    from bench.environment import measure_environment
    from bench.record import Environment, LossTiming, RecordWriter, ScalingRun
    from reports.scaling import Scaling
    from reports.scaling_render import print_scaling, write_scaling

    predicted = model.scaling(
        ranks, rates, n=n, D=dim, dtype=getattr(torch, dtype), backend=backend, tf32=tf32
    )
    checked = model.check([r for r in measured if isinstance(r, LossTiming)], rates, tf32=tf32)
    found = Scaling(
        predictions=tuple(predicted),
        checked=tuple(checked),
        measured_on=tuple(r.gpu for r in measured if isinstance(r, Environment) and r.gpu),
        command=common.command_line(),
    )
    writer = RecordWriter(folder / "records.jsonl")
    try:
        writer.write(measure_environment())
        writer.write(ScalingRun(command=found.command, measured_on=found.measured_on))
        for record in (*predicted, *checked):
            writer.write(record)
    finally:
        writer.close()
    written = write_scaling(found, folder)
    print_scaling(found, common.stdout_console())
    click.echo(f"records {writer.path}\nreport  {written['report.html']}")


def _rates(preset: GpuRates, product: str, given: dict[str, float | None]) -> GpuRates:
    """The preset with what was given in its place, and a name that says so."""
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return preset
    tflops = changes.pop("matmul_tflops", None)
    if tflops is not None:
        changes["matmul_tflops"] = {**preset.matmul_tflops, product: tflops}
    return dataclasses.replace(preset, name=f"{preset.name}, changed", **changes)  # type: ignore[arg-type]


def _read(path: Path) -> "list[Record]":
    from bench.record import read_records

    records, problems = read_records(path / "records.jsonl" if path.is_dir() else path)
    for problem in problems:
        click.echo(f"vicreg-fast: {problem}; left out", err=True)
    return records
