"""`vicreg-fast pretrain`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from vicreg_fast.commands import common, ranks
from vicreg_fast.commands.live_view import LiveView
from vicreg_fast.commands.observers import Observers
from vicreg_fast.config import Recipe
from vicreg_fast.errors import RankError, UsageError, VICRegFastError

if TYPE_CHECKING:
    import torch

    from pipelines.manifest import Manifest
    from vicreg_fast.distributed import Ranks
    from vicreg_fast.distributed.environment import RankEnvironment
    from vicreg_fast.distributed.launch import LaunchPlan
    from vicreg_fast.training.loop import Trainer
    from vicreg_fast.training.run_folder import RunFolder


def _choices(key: str) -> click.Choice[str]:
    return click.Choice(get_args(Recipe.model_fields[key].annotation))


@click.command(name="pretrain")
@common.data_option
@common.recipe_option
@common.set_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The run's folder: recipe.toml, metrics.jsonl, checkpoint.pt.  [default: runs/RECIPE]",
)
@click.option(
    "--pipeline",
    type=_choices("pipeline"),
    help="What makes the views.  [default: the recipe's; auto: DALI if it is installed]",
)
@click.option(
    "--optimizer", type=_choices("optimizer"), help="What updates the weights.  [default: the recipe's]"
)
@click.option(
    "--capture",
    type=_choices("capture"),
    help="Capture the whole step in one CUDA graph.  [default: the recipe's; auto: where possible]",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch.compile.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the last N checkpoints and, if N is 2 or more, the best.  [default: the recipe's]",
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard scalars, to RUN/tensorboard.")
@click.option(
    "--trace", is_flag=True, help="Record steps 20 to 24 of this session with torch.profiler, to RUN/trace."
)
@common.device_option
@ranks.launch_options
def command(
    data: Path | None,
    recipe_name: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    pipeline: str | None,
    optimizer: str | None,
    capture: str | None,
    compiled: bool,
    keep: int | None,
    tensorboard: bool,
    trace: bool,
    device: str,
    **launching: Any,
) -> None:
    """Pretrain a backbone with VICReg.

    The same command resumes the run, however it stopped. Ctrl-C stops after the current step and saves.
    Started by torchrun, srun or mpirun, each process is one rank of the run.
    """
    from pipelines.factory import resolve_pipeline
    from vicreg_fast.distributed.environment import read_environment
    from vicreg_fast.distributed.rank_report import is_launched, reporting_to_the_launcher
    from vicreg_fast.training.tensorboard import require_tensorboard

    short = {"pipeline": pipeline, "optimizer": optimizer, "capture": capture, "keep_checkpoints": keep}
    settings += tuple(f"{key}={value}" for key, value in short.items() if value is not None)
    settings += ("compile=true",) * compiled
    with reporting_to_the_launcher():
        environment = read_environment(os.environ)
        on = common.choose_device(device)
        if tensorboard:
            require_tensorboard()
        plan = ranks.plan_launch(ranks.LaunchOptions(**launching), environment, on, device)
        recipe = common.choose_recipe(recipe_name, settings, on)
        chosen, fallback = resolve_pipeline(recipe.pipeline, on.type)
        job = Job(
            # The folder's recipe names the back end itself: what `auto` finds may differ when it is resumed.
            recipe=recipe.replace(pipeline=chosen),
            data=data,
            folder=out or Path("runs") / recipe.name,
            device=on,
            environment=environment,
            tensorboard=tensorboard,
            trace=trace,
            # A launched rank's launcher has said it all.
            talks=(environment is None or environment.rank == 0) and not is_launched(),
        )
        if fallback:
            job.say(f"the torchvision pipeline is used: {fallback}")
        code = job.train() if plan is None else job.launch(plan)
    if code:
        raise click.exceptions.Exit(code)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, as this process sees it: by itself, as one of its ranks, or as the launcher of ranks."""

    recipe: Recipe
    data: Path | None
    folder: Path
    device: "torch.device"
    environment: "RankEnvironment | None"
    tensorboard: bool
    trace: bool
    talks: bool

    def say(self, line: str) -> None:
        if self.talks:
            click.echo(f"vicreg-fast: {line}", err=True)

    def launch(self, plan: "LaunchPlan") -> int:
        """Starts the ranks and returns the exit code. What a user can have caused is said before."""
        from vicreg_fast.distributed.launch import launch
        from vicreg_fast.training.loop import local_batch_size
        from vicreg_fast.training.run_folder import RunFolder

        local_batch_size(self.recipe, plan.ranks * plan.nodes)
        if plan.nodes == 1:  # of several nodes only rank 0's may open it
            with RunFolder(self.folder, self.recipe) as run:
                run.forget_unstarted()
        self._manifest()
        stopped_by = launch(plan, ranks.rank_command(), folder=self.folder, tell=self.say)
        return 0 if stopped_by is None else common.stop_exit_code(stopped_by)

    def train(self) -> int:
        """Trains, as the only process or as one rank, and returns the exit code."""
        from vicreg_fast.distributed.process_group import first_on_each_machine, joined_ranks
        from vicreg_fast.training.pretrain import pretrain

        with joined_ranks(self.environment, self.device) as (those, device):
            _require_same_recipe(self.recipe, those)
            with self._run_folder(those) as run:
                with first_on_each_machine(self.environment, those):
                    manifest = self._manifest()
                observers = Observers(
                    self.folder, device, rank=those.rank, tensorboard=self.tensorboard, trace=self.trace
                )
                with common.StopRequest() as stop, observers:

                    def on_start(trainer: "Trainer") -> None:
                        self._note_session(trainer)
                        self._tell_restart(trainer)
                        observers.start(trainer)

                    trainer = pretrain(
                        self.recipe,
                        manifest,
                        run,
                        device,
                        ranks=those,
                        checkpoint_file=self.folder / "checkpoint.pt",
                        on_start=on_start,
                        on_step=observers.update,
                        stop=stop,
                    )
        if those.rank == 0:
            _tell(trainer, self.folder, observers.view)
            observers.tell()
        # An agent would start a rank again that does not end with 0.
        by_agent = self.environment is not None and self.environment.source == "torchrun"
        return stop.exit_code if trainer.step < trainer.total_steps and stop() and not by_agent else 0

    def _manifest(self) -> "Manifest":
        from pipelines.manifest import load_manifest

        where, _ = common.choose_data(self.data, self.recipe)
        with common.progress_bar("checking the images") as advance:
            manifest = load_manifest(where, progress=advance)
        if manifest.skipped:
            self.say(manifest.summary())
        return manifest

    @contextmanager
    def _run_folder(self, those: "Ranks") -> "Iterator[RunFolder | None]":
        """Rank 0's; the other ranks have none."""
        from vicreg_fast.training.run_folder import RunFolder

        if those.rank != 0:
            yield None
            return
        with RunFolder(self.folder, self.recipe) as run:
            try:
                yield run
            except (VICRegFastError, KeyboardInterrupt) as error:
                if not isinstance(error, RankError):  # the ranks start again with what is there
                    run.forget_unstarted()
                raise

    def _note_session(self, trainer: "Trainer") -> None:
        """Appends to sessions.jsonl on rank 0, unless there is no step to do."""
        if trainer.ranks.rank != 0 or trainer.step >= trainer.total_steps:
            return
        from bench.environment import measure_environment
        from bench.record import RecordWriter
        from bench.session_record import Session

        writer = RecordWriter(self.folder / "sessions.jsonl")
        try:
            writer.write(
                Session(
                    from_step=trainer.step,
                    steps_per_epoch=trainer.steps_per_epoch,
                    total_steps=trainer.total_steps,
                    device=trainer.device.type,
                    pipeline=trainer.views.name,
                    precision=trainer.recipe.precision,
                    precision_why=trainer.precision_why,
                    world_size=trainer.ranks.world_size,
                    environment=measure_environment(),
                )
            )
        finally:
            writer.close()

    def _tell_restart(self, trainer: "Trainer") -> None:
        found = self.environment
        if found is None or found.rank != 0 or found.restarts == 0:
            return
        started = f"restarted ({found.restarts} of {found.max_restarts}): "
        # The live view continues the line with "resuming from step ...".
        resumes = 0 < trainer.step < trainer.total_steps
        click.echo(started if resumes else f"{started}from the beginning", nl=not resumes, err=True)


def _require_same_recipe(recipe: Recipe, those: "Ranks") -> None:
    """Raises UsageError, on every rank, unless all have the same: they would wait for each other for ever."""
    from vicreg_fast.distributed.control import share_states

    first, *others = share_states(recipe.model_dump(exclude={"name", "workers"}), those)
    for rank, other in enumerate(others, start=1):
        for key, value in first.items():
            if other[key] != value:
                raise UsageError(
                    f"{key} = {value!r} on rank 0 and {other[key]!r} on rank {rank}; "
                    "give every machine the same command"
                )


def _tell(trainer: "Trainer", folder: Path, view: LiveView) -> None:
    steps = trainer.step - view.first_step
    seconds = trainer.seconds - view.seconds_before
    at = f"step {trainer.step} of {trainer.total_steps}"
    stopped = trainer.step < trainer.total_steps
    if steps == 0 and not stopped:
        click.echo(f"{folder}: this run has already finished ({at}); choose another --out for a new one")
        return
    rate = f"{steps * trainer.recipe.batch_size / seconds:.0f} pairs/s" if seconds > 0 else "no step"
    if stopped:
        if trainer.saved_step == trainer.step:
            click.echo(f"{folder}: stopped at {at} and saved; the same command resumes there")
        else:  # the embeddings looked collapsed
            last = (
                f"the last checkpoint is from step {trainer.saved_step}, and the same command resumes there"
                if trainer.saved_step
                else "there is no checkpoint yet, so the same command starts over"
            )
            click.echo(f"{folder}: stopped at {at}, whose embeddings look collapsed; {last}")
    else:
        ranks_too = f" × {trainer.ranks.world_size} ranks" if trainer.ranks.world_size > 1 else ""
        click.echo(
            f"{folder}: finished {at}; {steps} steps in {seconds:.0f} s ({rate}, "
            f"{trainer.views.name} pipeline, {trainer.device.type}{ranks_too}), "
            f"last loss {trainer.last_loss:.3f}"
        )
        click.echo(f"next: vicreg-fast linear {folder}")
        click.echo(f"its curves: vicreg-fast report {folder}")
