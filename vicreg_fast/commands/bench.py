"""`vicreg-fast bench`: the comparison and the ladder; and `bench loss`, `bench loader` and
what else is measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.changes import CHANGES
from vicreg_fast.commands import common
from vicreg_fast.commands.bench_ceilings import ceilings
from vicreg_fast.commands.bench_cost import check_target, cost_options
from vicreg_fast.commands.bench_history import history
from vicreg_fast.commands.bench_loader import loader
from vicreg_fast.commands.bench_loss import loss
from vicreg_fast.commands.bench_sampling import modes_type, names_type, sampling
from vicreg_fast.commands.bench_scaling import scaling
from vicreg_fast.commands.bench_trace import trace
from vicreg_fast.commands.common import out_option
from vicreg_fast.errors import UsageError

if TYPE_CHECKING:
    import torch

    from bench.comparison import Comparison
    from bench.ladder_record import LadderRung
    from bench.record import Mode
    from vicreg_fast.config import Recipe

QUICK_ROUNDS, FULL_ROUNDS = 6, 10


@click.group(name="bench", invoke_without_command=True)
@click.option(
    "--compare",
    metavar="NAME[,NAME]",
    default="baseline",
    show_default=True,
    help="Scenarios to compare `fast` with: baseline, tuned, plain (the baseline in fp32), each also with "
    "changes added or taken away, as baseline+dali or fast-fused_loss.",
)
@click.option(
    "--ladder",
    is_flag=True,
    help="From `plain` to `fast` one change at a time, forwards and backwards: what each brings.",
)
@click.option(
    "--metrics",
    type=names_type("throughput", "memory", "accuracy"),
    help="Of throughput, memory, accuracy, joined by commas.  [default: all three]",
)
@click.option("--quick", is_flag=True, help="Throughput and memory only, in a few minutes.")
@click.option("--full", is_flag=True, help="More rounds and more seeds.")
@click.option(
    "--rounds", type=click.IntRange(1), help="Rounds of throughput.  [default: 8; quick 6, full 10]"
)
@click.option(
    "--modes",
    type=modes_type,
    help="Of end-to-end, compute-only, loader-only, joined by commas: what a round times.  "
    "[default: all three; of a ladder the first two]",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Steps of a window.  [default: 20 on a GPU, 5 on a CPU]"
)
@click.option("--windows", type=click.IntRange(1), help="Windows a round.  [default: 2; of a ladder 1]")
@click.option(
    "--rungs",
    type=names_type(*CHANGES),
    help=f"Of the ladder only these: of {', '.join(CHANGES)}, joined by commas.",
)
@click.option("--seeds", type=click.IntRange(1), help="Seeds of accuracy.  [default: 4; full 8]")
@click.option(
    "--margin",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    show_default=True,
    help="Non-inferiority margin of linear accuracy, in percentage points.",
)
@click.option(
    "--trace", is_flag=True, help="After the rounds, trace a few steps of each scenario into OUT/traces."
)
@cost_options
@common.data_option
@common.recipe_option
@common.set_option
@common.device_option
@out_option
@click.pass_context
def command(
    ctx: click.Context,
    compare: str,
    ladder: bool,
    metrics: tuple[str, ...] | None,
    quick: bool,
    full: bool,
    rounds: int | None,
    modes: "tuple[Mode, ...] | None",
    steps: int | None,
    windows: int | None,
    rungs: tuple[str, ...] | None,
    seeds: int | None,
    margin: float,
    trace: bool,
    price: float | None,
    currency: str,
    target_accuracy: float | None,
    data: Path | None,
    recipe_name: str | None,
    settings: tuple[str, ...],
    device: str,
    out: Path | None,
) -> None:
    """Compare `fast` with other ways to pretrain: pairs/s, memory and final linear accuracy, side by side.

    Each scenario runs in a process of its own, rounds interleaved. Writes records.jsonl, report.html,
    report.md and samples.csv. Exit code 4: a scenario failed; what the others gave is reported.
    """
    if ctx.invoked_subcommand is not None:
        return
    if quick and full:
        raise UsageError("--quick and --full exclude each other")
    asked = metrics or ("throughput", "memory", "accuracy")
    if metrics is None and (quick or ladder):
        asked = ("throughput", "memory")
    check_target(target_accuracy, price, asked)
    if rungs is not None and not ladder:
        raise UsageError("--rungs is of a ladder: add --ladder")
    folder = common.new_records_folder(out, "bench")
    from bench.comparison import Comparison, describe_data
    from bench.trainings import DEFAULT_SEEDS, FULL_SEEDS
    from pipelines.manifest import load_manifest

    on = common.choose_device(device)
    recipe = common.choose_recipe(recipe_name, settings, on)
    if ladder:
        named = ctx.get_parameter_source("compare") is not click.core.ParameterSource.DEFAULT
        scenarios, climbed = _ladder(asked, recipe, on, compare if named else None, rungs)
    else:
        scenarios, climbed = _compared(compare), ()
    where, name = common.choose_data(data, recipe)
    with common.progress_bar("checking the images") as advance:
        train = load_manifest(where, progress=advance)
    train.require_batch(recipe.batch_size)
    test = load_manifest(where, split="test") if "accuracy" in asked else None
    first = recipe.seed
    _run(
        Comparison(
            scenarios=scenarios,
            ladder=climbed,
            sampling=sampling(on.type, ladder=ladder, quick=quick, modes=modes, steps=steps, windows=windows),
            recipe=recipe,
            data=where,
            data_description=describe_data(name, train, test),
            device=str(on),
            command=common.command_line(),
            metrics=asked,
            rounds=rounds or (QUICK_ROUNDS if quick else FULL_ROUNDS if full else 8),
            seeds=tuple(range(first, first + (seeds or (FULL_SEEDS if full else DEFAULT_SEEDS)))),
            accuracy_margin_points=margin,
            trace_folder=folder if trace else None,
            epoch_images=len(train),
            price_per_hour=price,
            currency=currency,
            target_accuracy_percent=target_accuracy,
        ),
        folder,
    )


def _compared(names: str) -> tuple[str, ...]:
    """Raises UsageError for a name that is none, and where there is nothing but `fast`."""
    from bench.changes import parse_name
    from bench.comparison import scenarios_to_compare

    scenarios = scenarios_to_compare([name.strip() for name in names.split(",")])
    for name in scenarios:
        try:
            parse_name(name)
        except UsageError as error:
            raise UsageError(f"--compare {names}: {error}") from None
    if len(scenarios) < 2:
        raise UsageError("--compare fast: fast is what is compared; name baseline or tuned")
    return scenarios


def _ladder(
    metrics: tuple[str, ...],
    recipe: "Recipe",
    device: "torch.device",
    compare: str | None,
    only: tuple[str, ...] | None,
) -> tuple[tuple[str, ...], "tuple[LadderRung, ...]"]:
    """Its scenarios and rungs. Raises UsageError for what does not go with it."""
    from bench.changes import ladder_scenarios
    from bench.scenarios import recipe_ladder

    if compare is not None:
        raise UsageError(f"--ladder --compare {compare}: a ladder has its own scenarios; give one of the two")
    if "accuracy" in metrics:
        raise UsageError("--ladder --metrics accuracy: a ladder measures throughput and memory only")
    rungs = tuple(rung for rung in recipe_ladder(recipe, device) if only is None or rung.change in only)
    return tuple(dict.fromkeys((*ladder_scenarios(rungs), "fast"))), rungs


def _run(comparison: "Comparison", out: Path) -> None:
    from bench.comparison import ComparisonRun, make_plan
    from reports.load import load_report
    from reports.render import print_report, write_report

    make_plan(comparison)  # what is refused is refused before there is a file of records
    records = out / "records.jsonl"
    with (
        common.ended_by_sigterm(),
        common.recording(records) as writer,
        common.stage_view() as show,
        ComparisonRun(comparison, writer, show) as run,
    ):
        run.run()
    written = write_report([records], out)
    print_report(load_report([records]), common.stdout_console())
    click.echo(f"records {records}\nreport  {written['report.html']}")
    if run.failures:
        for failure in run.failures:
            click.echo(
                f"vicreg-fast: {failure.scenario} failed in {failure.stage}: {failure.message}", err=True
            )
        raise click.exceptions.Exit(4)


command.add_command(loss)
command.add_command(scaling)
command.add_command(trace)
command.add_command(loader)
command.add_command(ceilings)
command.add_command(history)
