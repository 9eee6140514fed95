"""`vicreg-fast pretrain`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicreg_fast.commands import common
from vicreg_fast.commands.live_view import LiveView
from vicreg_fast.errors import VICRegFastError

if TYPE_CHECKING:
    from vicreg_fast.training.loop import Trainer


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
    from vicreg_fast.training.pretrain import pretrain
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
            with common.StopRequest() as stop, LiveView() as view:
                trainer = pretrain(
                    recipe, manifest, run, on, on_start=view.start, on_step=view.update, stop=stop
                )
        except (VICRegFastError, KeyboardInterrupt):
            run.forget_unstarted()
            raise
    _tell(trainer, folder, view, stopped=trainer.step < trainer.total_steps)
    if trainer.step < trainer.total_steps and stop():
        raise click.exceptions.Exit(stop.exit_code)


def _tell(trainer: "Trainer", folder: Path, view: LiveView, *, stopped: bool) -> None:
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
