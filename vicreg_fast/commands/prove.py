"""`vicreg-fast prove`: one command that measures every claim about GPUs."""

import difflib
import time
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import BenchmarkError, UsageError

if TYPE_CHECKING:
    from bench.proof_parts import Machine
    from bench.proof_run import Progress, ProofFolder

BUDGET = 540.0
LONGEST_SURVEY = 300.0
"""Seconds: torch may come from a slow disk."""

Stop = Callable[[], bool]


def _seconds(_: click.Context, parameter: click.Parameter, value: float) -> float:
    if not 1 <= value <= 1e6:  # NaN is not, which click's own range lets through
        raise click.BadParameter(f"{value} is not in the range from 1 to 1,000,000 seconds")
    return value


@click.command(name="prove")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder of the proof; a proof that is there already is resumed.",
)
@click.option(
    "--budget",
    type=float,
    default=BUDGET,
    show_default=True,
    callback=_seconds,
    metavar="SECONDS",
    help="Time for this call: a part starts only if it should finish in time; the others are named.",
)
@click.option(
    "--part",
    "names",
    multiple=True,
    metavar="NAME",
    help="Run only this part, even if it is done; may be repeated. One of environment, tests, loss, capture, "
    "dali, compare, ladder, cifar-r18, memory, cifar10.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="CIFAR-10 as train/CLASS/* and test/CLASS/*, for the parts on small images.  "
    "[default: the built-in set at 32×32]",
)
def command(out: Path, budget: float, names: tuple[str, ...], data: Path | None) -> None:
    """Measure every claim about GPUs on this machine, in parts, the most important first, and print each
    claim beside its target.

    The same command resumes a proof that stopped. Without a GPU every part runs at toy size: a rehearsal,
    which shows that the parts run and says nothing about speed. Writes DIR/records.jsonl, DIR/report.html and
    a folder for each part. Exit codes: 0 if no part failed, 4 if one did, 130 and 143 if it was interrupted;
    what was measured is kept.
    """
    began = time.monotonic()
    from bench.environment import measure_environment
    from bench.proof_parts import PART_NAMES
    from bench.proof_run import ProofFolder
    from reports.proof_render import print_proof, write_proof

    _require_names(names, PART_NAMES)
    failed = False
    with ProofFolder(out) as folder, common.StopRequest() as stop:
        folder.require_same_machine(measure_environment())
        if names or not folder.is_done(PART_NAMES):
            failed = _run(folder, budget, names, data.resolve() if data else None, stop, began)
        if folder.began:
            print_proof(out, common.stdout_console())
            written = write_proof(out, out)
            click.echo(f"records {out / 'records.jsonl'}\nreport  {written['report.html']}")
    if stop.signal is not None:
        raise click.exceptions.Exit(128 + stop.signal)
    if failed:
        raise click.exceptions.Exit(4)


def _require_names(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise UsageError(f"--part {name}: no such part{hint}; choose from {', '.join(known)}")


def _run(
    folder: "ProofFolder", budget: float, names: tuple[str, ...], data: Path | None, stop: Stop, began: float
) -> bool:
    """Runs the parts; returns whether one failed."""
    from bench.environment import measure_environment
    from bench.proof_parts import plan_parts
    from bench.proof_record import ProofPlan
    from bench.proof_run import ProofRun
    from vicreg_fast.commands.prove_part import run_part

    with common.stage_view() as show:
        show("inspecting the machine", 0, 1)
        found = _survey(stop)
        if found is None:
            return False
        machine, context = found
        rehearsal = machine.device == "cpu"
        folder.require_same_mode(rehearsal=rehearsal)
        parts = plan_parts(machine)
        with common.recording(folder.file) as writer:
            run = ProofRun(
                folder=folder,
                parts=parts,
                asked=names,
                budget=budget,
                data=data,
                rehearsal=rehearsal,
                writer=writer,
                context=context,
                main=run_part,
                stop=stop,
                show=lambda progress: show(_in_words(progress), progress.done, progress.total),
                began=began,
            )
            plan = ProofPlan(
                device=machine.name,
                rehearsal=rehearsal,
                budget_seconds=budget,
                parts=tuple(part.name for part in parts),
                asked=tuple(part.name for part in run.to_run()),
            )
            for record in (measure_environment(), plan):
                folder.records.append(record)
                writer.write(record)
            run.run()
    return any(end.status == "failed" for end in run.ends)


def _survey(stop: Stop) -> "tuple[Machine, BaseContext] | None":
    """The machine, and how processes start on it; None when it was interrupted.

    A fork server is the quick way. Where what was imported there keeps a forked process from using the GPU,
    each process imports torch itself. Raises BenchmarkError where torch cannot be used either way.
    """
    import multiprocessing

    from bench.proof_parts import Machine
    from bench.proof_process import PartProcess, fork_server
    from vicreg_fast.commands.prove_part import survey

    said: object = None
    for context in (fork_server(), multiprocessing.get_context("spawn")):
        process: PartProcess[None] = PartProcess(context, survey, None)
        try:
            what, said = process.wait(LONGEST_SURVEY, stop, lambda: None)
        finally:
            process.end()
        if what == "stopped":
            return None
        if isinstance(said, Machine):
            return said, context
    raise BenchmarkError(
        f"{said if isinstance(said, str) else 'torch cannot be imported'}; see `vicreg-fast doctor`"
    )


def _in_words(progress: "Progress") -> str:
    part = progress.part
    return (
        f"{part.name}: {part.title}, {progress.seconds:.0f} s of about {part.seconds:.0f}; "
        f"all in about {progress.left:.0f} s"
    )
