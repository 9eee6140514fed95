"""`vicreg-fast pretrain`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicreg_fast.commands import common
from vicreg_fast.errors import VICRegFastError

if TYPE_CHECKING:
    from vicreg_fast.training.loop import Progress, Trainer


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
    type=click.Choice(["auto", "dali", "torchvision"]),
    help="Who makes the views.  [default: the recipe's, auto: DALI where it is installed]",
)
@common.device_option
def command(
    data: Path | None,
    recipe_name: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    pipeline: str | None,
    device: str,
) -> None:
    """Pretrain a backbone with VICReg.

    The same command again goes on where the run stopped, however it stopped. Ctrl-C stops after the step and
    saves.
    """
    from pipelines.factory import resolve_pipeline
    from pipelines.manifest import load_manifest
    from vicreg_fast.training.loop import pretrain
    from vicreg_fast.training.run_folder import RunFolder

    on = common.choose_device(device)
    if pipeline is not None:
        settings = (*settings, f"pipeline={pipeline}")
    recipe = common.choose_recipe(recipe_name, settings, on)
    chosen, fallback = resolve_pipeline(recipe.pipeline)
    if fallback:
        click.echo(f"vicreg-fast: the torchvision pipeline is used: {fallback}", err=True)
    # The folder's recipe names the back end itself: what `auto` finds may differ when the run is resumed.
    recipe = recipe.replace(pipeline=chosen)
    folder = out or Path("runs") / recipe.name
    with RunFolder(folder, recipe) as run:
        try:
            where, _ = common.choose_data(data, recipe)
            with common.progress_bar("checking the images") as advance:
                manifest = load_manifest(where, progress=advance)
            if manifest.skipped:
                click.echo(f"vicreg-fast: {manifest.summary()}", err=True)
            with common.StopRequest() as stop, _LiveView() as view:
                trainer = pretrain(
                    recipe, manifest, run, on, on_start=view.start, on_step=view.update, stop=stop
                )
        except (VICRegFastError, KeyboardInterrupt):
            run.forget_unstarted()
            raise
    _tell(trainer, folder, view, stopped=trainer.step < trainer.total_steps)
    if trainer.step < trainer.total_steps and stop():
        raise click.exceptions.Exit(stop.exit_code)


class _LiveView:
    """A rich progress line with the terms, the rate and the ETA; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.first_step = 0
        self.seconds_before = 0.0
        console = common.stderr_console()
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, epoch=0, numbers="")

    def __enter__(self) -> "_LiveView":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, trainer: "Trainer") -> None:
        self.first_step, self.seconds_before = trainer.step, trainer.seconds
        if 0 < trainer.step < trainer.total_steps:
            click.echo(f"going on from step {trainer.step} of {trainer.total_steps}", err=True)
        self._progress.update(self._task, completed=trainer.step, total=trainer.total_steps)

    def update(self, progress: "Progress") -> None:
        m = progress.metrics
        if m is None:
            self._progress.update(self._task, completed=progress.step, epoch=progress.epoch)
            return
        numbers = (
            f"loss {m['loss']:.3f} (inv {m['invariance']:.3f} var {m['variance']:.3f} "
            f"cov {m['covariance']:.3f})  "
            f"σ {m['std_mean']:.2f}  lr {m['learning_rate']:.2g}  {m['pairs_per_second']:.0f} pairs/s"
        )
        self._progress.update(self._task, completed=progress.step, epoch=progress.epoch, numbers=numbers)


def _tell(trainer: "Trainer", folder: Path, view: _LiveView, *, stopped: bool) -> None:
    steps = trainer.step - view.first_step
    seconds = trainer.seconds - view.seconds_before
    at = f"step {trainer.step} of {trainer.total_steps}"
    if steps == 0 and not stopped:
        click.echo(f"{folder}: this run is finished already ({at}); give another --out for a new one")
        return
    rate = f"{steps * trainer.recipe.batch_size / seconds:.0f} pairs/s" if seconds > 0 else "no step"
    if stopped:
        click.echo(f"{folder}: stopped at {at} and saved; the same command goes on from there")
    else:
        click.echo(
            f"{folder}: finished {at}; {steps} steps in {seconds:.0f} s ({rate}, "
            f"{trainer.views.name} pipeline, {trainer.device.type}), last loss {trainer.last_loss:.3f}"
        )
        click.echo(f"next: vicreg-fast linear {folder}")
