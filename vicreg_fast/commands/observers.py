"""What tells of a run beside its metrics.jsonl: the live view, `--tensorboard` and `--trace`."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from vicreg_fast.commands.live_view import LiveView
from vicreg_fast.errors import VICRegFastError

if TYPE_CHECKING:
    import torch

    from vicreg_fast.training.loop import Progress, Trainer
    from vicreg_fast.training.tensorboard import TensorBoardLog
    from vicreg_fast.training.trace import StepTrace


class Observers:
    """Give `start` to the run's `on_start` and `update` to its `on_step`, inside the context.

    folder: the run's. The live view and TensorBoard are rank 0's; every rank has a trace of its own.
    """

    def __init__(
        self, folder: Path, device: "torch.device", *, rank: int, tensorboard: bool, trace: bool
    ) -> None:
        self.view = LiveView(shown=rank == 0)
        self._rank = rank
        self._trainer: Trainer | None = None
        self._told_why_eager = False
        self._scalars_folder = folder / "tensorboard" if tensorboard and rank == 0 else None
        self._scalars: TensorBoardLog | None = None
        self.trace = _step_trace(folder / "trace", device, rank) if trace else None

    def __enter__(self) -> "Observers":
        self.view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.view.__exit__(kind, error, where)
        if self._scalars is not None:
            self._scalars.close()
        if self.trace is not None:
            # What ended the run is worth more than why its trace could not be written.
            with contextlib.suppress(*() if error is None else (VICRegFastError,)):
                self.trace.stop()

    def start(self, trainer: "Trainer") -> None:
        self._trainer = trainer
        if self._scalars_folder is not None:
            from vicreg_fast.training.tensorboard import TensorBoardLog

            self._scalars = TensorBoardLog(self._scalars_folder, trainer.step)
        self.view.start(trainer)
        if self.trace is not None:
            self.trace.start(trainer.step)

    def update(self, progress: "Progress") -> None:
        self._tell_why_eager()
        self.view.update(progress)
        if self._scalars is not None and progress.metrics is not None:
            self._scalars.log(progress.metrics)
        if self.trace is not None:  # last: its step ends here
            self.trace.step()

    def _tell_why_eager(self) -> None:
        assert self._trainer is not None
        note = self._trainer.train_step.capture_note
        if note is not None and not self._told_why_eager:
            self._told_why_eager = True
            if self._rank == 0:
                click.echo(f"vicreg-fast: {note}", err=True)

    def tell(self) -> None:
        """Says where the trace is, and what it shows."""
        if self.trace is None:
            return
        if self.trace.file is None:
            click.echo(
                f"no trace: the session ended before step {self.trace.first_step}, the first to be recorded"
            )
            return
        from vicreg_fast.training.trace_summary import summarize_trace

        click.echo(f"trace: {self.trace.file}")
        click.echo(summarize_trace(self.trace.file).table())


def _step_trace(folder: Path, device: "torch.device", rank: int) -> "StepTrace":
    from vicreg_fast.training.trace import StepTrace

    return StepTrace(folder, device, rank=rank)
