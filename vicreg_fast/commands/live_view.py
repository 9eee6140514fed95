"""What one sees of a run while it runs: a live view on a terminal, plain lines in a log.

Both show the numbers of the last logged step and read nothing from the device themselves, so that they do
not slow the step.
"""

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vicreg_fast.commands import common

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from rich.console import Console, RenderableType

    from vicreg_fast.training.loop import Metrics, Progress, Trainer

SECONDS_BETWEEN_LINES = 30.0
REFRESHES_PER_SECOND = 4.0


class LiveView:
    """Give `start` to the run's `on_start` and `update` to its `on_step`, inside the view's context.

    One line says where it begins, on what and in which precision. On a terminal rich then redraws a bar and
    the numbers; elsewhere the first and the last logged step are one line each on stderr, and so is one step
    at most every 30 s between them. `shown=False` is for the ranks beside rank 0: nothing at all.
    """

    def __init__(self, *, shown: bool = True, console: "Console | None" = None) -> None:
        self.first_step = 0
        self.seconds_before = 0.0
        self._shown = shown
        self._console = console or common.stderr_console()
        self._trainer: Trainer | None = None
        self._memory: Callable[[], int] = lambda: 0
        self._live: Any = None
        self._bar: Any = None
        self._step = 0
        self._first: Metrics | None = None
        self._last: Metrics | None = None
        self._told: Metrics | None = None
        self._told_at = 0.0

    def __enter__(self) -> "LiveView":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not self._told:
            self._tell()

    def start(self, trainer: "Trainer") -> None:
        self.first_step, self.seconds_before = trainer.step, trainer.seconds
        self._trainer, self._step = trainer, trainer.step
        if not self._shown or trainer.step >= trainer.total_steps:
            return
        begins = f"resuming from step {trainer.step} of {trainer.total_steps}" if trainer.step else "training"
        how = f"on {trainer.device.type} in {trainer.recipe.precision}: {trainer.precision_why}"
        self._console.out(f"{begins} {how}", highlight=False)
        self._memory = _memory_of(trainer.device)
        if self._console.is_terminal:
            self._show()

    def update(self, progress: "Progress") -> None:
        self._step = progress.step
        if progress.metrics is None:
            return
        self._first = self._first or progress.metrics
        self._last = progress.metrics
        if self._live is None and (
            self._told is None or time.monotonic() - self._told_at >= SECONDS_BETWEEN_LINES
        ):
            self._tell()

    def _tell(self) -> None:
        if self._shown and self._last is not None:
            where = f"step {self._last['step']}/{self._total_steps}"
            line = "  ".join([where, *(f"{name} {value}" for name, value in self._numbers())])
            self._console.out(line, highlight=False)
        self._told, self._told_at = self._last, time.monotonic()

    def _show(self) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("step"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            expand=True,
        )
        self._bar.add_task("", completed=self._step, total=self._total_steps)
        self._live = Live(
            get_renderable=self._renderable,
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
        )
        self._live.start(refresh=True)

    def _renderable(self) -> "RenderableType":
        from rich.columns import Columns
        from rich.console import Group
        from rich.text import Text

        self._bar.update(self._bar.task_ids[0], completed=self._step)
        if self._last is None:
            return Group(self._bar, Text("waiting for the first logged step", style="dim"))
        cells = [Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in self._numbers()]
        return Group(self._bar, Columns(cells, padding=(0, 2), equal=True))

    @property
    def _total_steps(self) -> int:
        return self._trainer.total_steps if self._trainer is not None else 0

    def _numbers(self) -> list[tuple[str, str]]:
        """Names and values of the last logged step, as both views show them."""
        trainer, m = self._trainer, self._last
        assert trainer is not None
        assert m is not None
        dimensions = trainer.recipe.expander_widths[-1]
        return [
            ("epoch", f"{m['epoch']:.2f}/{trainer.total_steps / trainer.steps_per_epoch:.4g}"),
            ("loss", f"{m['loss']:.4g}"),
            ("invariance", f"{m['invariance']:.4g}"),
            ("variance", f"{m['variance']:.4g}"),
            ("covariance", f"{m['covariance']:.4g}"),
            ("lr", f"{m['learning_rate']:.3g}"),
            ("pairs/s", f"{m['pairs_per_second']:,.0f}"),
            ("loader wait", f"{m['loader_wait_share']:.0%}"),
            ("mean σ", f"{m['std_mean']:.3f}"),
            ("dead", f"{round(m['dead_fraction'] * dimensions)}/{dimensions}"),
            ("rank", f"{m['effective_rank']:.1f}"),
            ("memory", f"{self._memory() / 2**30:.2f} GiB"),
            ("ETA", str(timedelta(seconds=round(self._seconds_left())))),
        ]

    def _seconds_left(self) -> float:
        """At the pace of this session from its first logged step on: before that, things warm up."""
        trainer, first, last = self._trainer, self._first, self._last
        assert trainer is not None
        assert first is not None
        assert last is not None
        if last["step"] > first["step"]:
            per_step = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
        else:
            per_step = trainer.recipe.batch_size / last["pairs_per_second"]
        return max(0.0, (trainer.total_steps - self._step) * per_step)


def _memory_of(device: "torch.device") -> "Callable[[], int]":
    """Reads the bytes of the allocator's peak on a GPU, which it keeps on the host, or of this process's
    resident memory elsewhere. Made before the first step, so that importing what reads it slows none."""
    if device.type == "cuda":
        import torch

        return lambda: torch.cuda.max_memory_allocated(device)
    import psutil

    process = psutil.Process()
    return lambda: process.memory_info().rss
