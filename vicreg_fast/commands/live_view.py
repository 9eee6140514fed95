"""What one sees of a run while it runs."""

from typing import TYPE_CHECKING

import click

from vicreg_fast.commands import common

if TYPE_CHECKING:
    from vicreg_fast.training.loop import Progress, Trainer


class LiveView:
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

    def __enter__(self) -> "LiveView":
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
