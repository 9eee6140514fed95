"""`vicreg-fast bench loss`: the loss alone, ours beside every implementation people use."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vicreg_fast.commands import bench_against, common
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    from bench.loss_bench import LossBench
    from bench.loss_record import LossPhase

SHAPES = "64x512,64x2048,64x8192,256x512,256x2048,256x8192,1024x512,1024x2048,1024x8192"
QUICK_SHAPES = "256x2048,256x8192"
DTYPES = ("float32", "bfloat16", "float16", "float64")
PHASES = ("forward", "backward", "forward+backward")
SECONDS_A_SHAPE = 30.0


class _Names(click.ParamType):
    """Names joined by commas, each one of `known`, if it says what is known."""

    def __init__(self, name: str, known: tuple[str, ...] | None = None) -> None:
        self.name = name
        self._known = known

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if not isinstance(value, str):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if self._known is not None and name not in self._known:
                self.fail(f"{name!r} is not one of {', '.join(self._known)}", param, ctx)
        return names


class _Shapes(click.ParamType):
    name = "shapes"

    def convert(
        self,
        value: str | tuple[tuple[int, int], ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[tuple[int, int], ...]:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(_shape(text) for text in value.split(",")))


def _shape(text: str) -> tuple[int, int]:
    n, times, d = text.strip().partition("x")
    if not times or not n.isdecimal() or not d.isdecimal() or int(n) < 2 or int(d) < 1:
        raise UsageError(f"--shapes {text}: must be NxD with N ≥ 2 and D ≥ 1, such as 256x8192")
    return int(n), int(d)


@click.command(name="loss")
@click.option(
    "--shapes",
    type=_Shapes(),
    metavar="NxD,...",
    help="Batch and embedding dimension of each shape.  [default: 64, 256, 1024 by 512, 2048, 8192]",
)
@click.option("--quick", is_flag=True, help=f"Two shapes only: {QUICK_SHAPES}.")
@click.option(
    "--providers",
    type=_Names("providers"),
    metavar="NAME,...",
    help="Any of official, official-compiled, lightly (pip install 'vicreg-fast[rivals]'), "
    "stable-pretraining (vicreg-fast[rivals-all]), solo-learn, augwester, auto, auto-graphed, gram, "
    "covariance, gram-triton, covariance-triton.  [default: every one that can run here]",
)
@click.option(
    "--dtype",
    "dtypes",
    type=_Names("dtypes", DTYPES),
    default="float32",
    show_default=True,
    metavar="NAME,...",
    help=f"Any of {', '.join(DTYPES)}.",
)
@click.option(
    "--phases",
    type=_Names("phases", PHASES),
    default=",".join(PHASES),
    metavar="NAME,...",
    help=f"Any of {', '.join(PHASES)}.  [default: all three]",
)
@click.option(
    "--pairs",
    type=click.IntRange(1),
    help=f"Samples of each provider at each shape.  [default: 30, or as many as fit in {SECONDS_A_SHAPE:.0f} "
    "seconds, but at least 10]",
)
@click.option(
    "--ranks",
    type=click.IntRange(1),
    default=1,
    metavar="W",
    help="Also time one rank's share of a batch over W ranks, without the other ranks and their links.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Then profile each of our losses: record its kernel times and gaps.",
)
@click.option("--cold", is_flag=True, help="Flush the caches before each timed call.")
@click.option("--threads", type=click.IntRange(1), help="Torch's threads on a CPU.  [default: torch's]")
@click.option(
    "--static",
    is_flag=True,
    help="Instead, compile every GPU kernel, without a GPU, and compare the result with the record.",
)
@click.option("--update", is_flag=True, help="With --static: rewrite the record.")
@bench_against.against_options
@common.device_option
@common.out_option
def loss(
    shapes: tuple[tuple[int, int], ...] | None,
    quick: bool,
    providers: tuple[str, ...] | None,
    dtypes: tuple[str, ...],
    phases: "tuple[LossPhase, ...]",
    pairs: int | None,
    ranks: int,
    profile: bool,
    cold: bool,
    threads: int | None,
    static: bool,
    update: bool,
    device: str,
    out: Path | None,
    **against: Any,
) -> None:
    """Time the loss, forward and backward, and measure its memory: ours in each form and backend beside the
    authors' and others', interleaved.

    Before anything is timed, its value and gradient are checked against a float64 oracle. All shapes take
    about 25 minutes on two cores, most of it spent in the other losses at D = 8192. Exit codes: 1 if a loss
    fails that check, 4 if one ends with an error.

    With --against it takes half a minute to check whether our loss is slower than at another revision: exact
    counts first, then times in alternating processes. Exit codes: 0 fine, 1 a regression, 2 usage, 3
    inconclusive (0 without --strict), 4 a case failed or is missing, 5 the base is missing or not comparable.
    """
    if against["against"] is not None:
        bench_against.refuse_others(
            shapes=shapes,
            quick=quick,
            providers=providers,
            ranks=ranks > 1,
            profile=profile,
            cold=cold,
            static=static,
            update=update,
        )
        options = bench_against.Against(pairs=pairs, threads=threads, device=device, out=out, **against)
        raise click.exceptions.Exit(bench_against.run_against(options))
    bench_against.refuse_alone(against)
    if static:
        from bench.static_kernels import run_static

        raise click.exceptions.Exit(run_static(update=update, console=common.stdout_console()))
    if update:
        raise UsageError("--update needs --static: it rewrites the kernels' record")
    if quick and shapes:
        raise UsageError("--quick and --shapes exclude each other")
    if cold and ranks > 1:
        raise UsageError("--cold and --ranks exclude each other: a rank's share is timed with warm caches")
    folder = common.new_records_folder(out, "loss")
    # Read when torch loads its profiler, which else calls a machine without a GPU an error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    import torch

    from bench.loss_bench import LossBench
    from bench.loss_providers import choose_providers
    from bench.loss_speed import Pairs

    on = common.choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    asked = tuple(getattr(torch, name) for name in dtypes)
    bench = LossBench(
        providers=choose_providers(providers, on, asked),
        shapes=shapes or _Shapes().convert(QUICK_SHAPES if quick else SHAPES, None, None),
        dtypes=asked,
        device=on,
        phases=phases,
        pairs=Pairs(most=pairs) if pairs else Pairs(seconds=SECONDS_A_SHAPE),
        command=common.command_line(),
        ranks=ranks,
        profile=profile,
        cold=cold,
    )
    _run(bench, folder)


def _run(bench: "LossBench", folder: Path) -> None:
    from bench.environment import measure_environment
    from bench.loss_bench import LossBenchRun
    from reports.loss_load import load_loss_report
    from reports.loss_render import print_loss_report, write_loss_report

    records = folder / "records.jsonl"
    with common.recording(records) as writer:
        writer.write(measure_environment())
        with common.stage_view() as show:
            run = LossBenchRun(bench, writer.write, show)
            run.run()
    written = write_loss_report([records], folder)
    print_loss_report(load_loss_report([records]), common.stdout_console())
    click.echo(f"records {records}\nreport  {written['report.html']}")
    for name in run.refused:
        click.echo(f"vicreg-fast: {name} failed the check against the oracle; it was not timed", err=True)
    for failure in run.failed:
        click.echo(f"vicreg-fast: {failure}", err=True)
    if run.refused:
        raise click.exceptions.Exit(1)
    if run.failed:
        raise click.exceptions.Exit(4)
