"""The loop: batches through the step, on schedule, with metrics, checkpoints and a clean stop.

A `Trainer` is a run in memory: what it is given decides every number it makes. `pretrain` gives it a folder,
so that it can be killed at any moment and go on from its last checkpoint: on a CPU with bitwise the weights
of a run never killed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim

from pipelines.contract import ViewPipeline
from pipelines.factory import make_views
from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.errors import CheckpointError, TrainingError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training.checkpoint import save_checkpoint
from vicreg_fast.training.optimizers import build_optimizer
from vicreg_fast.training.run_folder import RunFolder
from vicreg_fast.training.schedule import planned_steps
from vicreg_fast.training.step import LossFunction, TrainingStep

Metrics = dict[str, float | int]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is, after each step; `metrics` is there on the steps that log."""

    step: int
    total_steps: int
    epoch: int
    metrics: Metrics | None = None


class Trainer:
    """A pretraining run in memory: pipeline, step and position. Close it when done."""

    def __init__(
        self,
        recipe: Recipe,
        manifest: Manifest,
        device: torch.device,
        *,
        loss: LossFunction | None = None,
        make_optimizer: Callable[[Recipe, nn.Module], optim.Optimizer] = build_optimizer,
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.views: ViewPipeline = make_views(
            recipe.pipeline,
            manifest,
            augmentation=recipe.augmentation,
            image_size=recipe.image_size,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            workers=recipe.workers,
            device=device,
        )
        try:
            self.train_step = TrainingStep(
                recipe,
                device,
                steps_per_epoch=self.views.batches_per_epoch,
                loss=loss,
                make_optimizer=make_optimizer,
            )
        except BaseException:
            self.close()
            raise
        self.steps_per_epoch = self.views.batches_per_epoch
        self.total_steps = planned_steps(recipe, self.steps_per_epoch)
        self.step = 0
        self.seconds = 0.0
        """Training time so far, over all the sessions of the run, in wall seconds."""
        self.loader_wait_seconds = 0.0
        self.last_loss = math.nan
        self._latest: tuple[torch.Tensor, VICRegTerms] | None = None

    def run(
        self,
        *,
        until: int | None = None,
        on_step: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Trains up to step `until` (the end by default). Returns False when `stop` asked for an earlier end,
        after a whole step.

        Raises TrainingError when a logged loss is not finite, DataError when an image cannot be read.
        """
        end = self.total_steps if until is None else min(until, self.total_steps)
        batches = iter(self.views)
        window_start, window_wait, window_step = time.perf_counter(), self.loader_wait_seconds, self.step
        seconds_before = self.seconds
        while self.step < end:
            if stop():
                return False
            waited_from = time.perf_counter()
            batch = next(batches)
            self.loader_wait_seconds += time.perf_counter() - waited_from
            loss, terms = self.train_step([batch])
            self.step += 1
            self._latest = (loss, terms)
            self.seconds = seconds_before + (time.perf_counter() - window_start)
            metrics: Metrics | None = None
            if self.step % self.recipe.log_every_steps == 0 or self.step == self.total_steps:
                # The one place that reads from the device: everything before it is in flight until here.
                values = self._read_finite()
                now = time.perf_counter()
                elapsed = now - window_start
                self.seconds = seconds_before + elapsed
                self.last_loss = values[0]
                metrics = {
                    "step": self.step,
                    "epoch": self.step / self.steps_per_epoch,
                    **dict(zip(("loss", *terms._fields), values, strict=True)),
                    "learning_rate": float(self.train_step.learning_rate),
                    "pairs_per_second": (self.step - window_step) * self.recipe.batch_size / elapsed,
                    "loader_wait_share": (self.loader_wait_seconds - window_wait) / elapsed,
                    "seconds": self.seconds,
                }
                window_start, window_wait, window_step = now, self.loader_wait_seconds, self.step
                seconds_before = self.seconds
            if on_step is not None:
                on_step(
                    Progress(
                        step=self.step,
                        total_steps=self.total_steps,
                        epoch=(self.step - 1) // self.steps_per_epoch,
                        metrics=metrics,
                    )
                )
        self.seconds = seconds_before + (time.perf_counter() - window_start)
        return True

    def _read_finite(self) -> list[float]:
        """The last step's loss and terms, on the host."""
        assert self._latest is not None
        loss, terms = self._latest
        values: list[float] = torch.stack([loss, *terms]).double().tolist()
        if not math.isfinite(values[0]):
            named = ", ".join(
                f"{name} {value:.4g}" for name, value in zip(terms._fields[:3], values[1:4], strict=True)
            )
            raise TrainingError(f"step {self.step}: the loss is not finite ({named}); {self._mend()}")
        return values

    def _mend(self) -> str:
        return f"lower base_lr (now {self.recipe.base_lr:g}) or use precision=fp32"

    def _require_finite(self) -> None:
        """Raises TrainingError unless the last loss and every weight and statistic are finite: a finite loss
        can have a gradient that is not."""
        if self._latest is not None:
            self._read_finite()
        values = {k: v for k, v in self.train_step.network.state_dict().items() if v.is_floating_point()}
        finite = torch.stack([value.isfinite().all() for value in values.values()]).tolist()
        wrong = [name for name, fine in zip(values, finite, strict=True) if not fine]
        if wrong:
            raise TrainingError(
                f"step {self.step}: {len(wrong)} of {len(values)} tensors of the network are not finite, "
                f"first {wrong[0]}; {self._mend()}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the run depends on. Raises TrainingError rather than save a run whose loss
        or weights are not finite."""
        self._require_finite()
        return {
            "recipe": self.recipe.model_dump(),
            "step": self.step,
            "seconds": self.seconds,
            "train_step": self.train_step.state_dict(),
            "pipeline": self.views.name,
            "views": self.views.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError when the state is of another pipeline, data set or network."""
        if state["pipeline"] != self.views.name:
            raise CheckpointError(
                f"the checkpoint was trained with the {state['pipeline']} pipeline and this run has "
                f"{self.views.name}; use --pipeline {state['pipeline']}, or another --out"
            )
        self.views.load_state_dict(state["views"])
        try:
            self.train_step.load_state_dict(state["train_step"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the checkpoint does not fit the recipe's network or optimiser ({reason}); "
                "choose another --out, or ask for the same recipe"
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)

    def close(self) -> None:
        self.views.close()


def pretrain(
    recipe: Recipe,
    manifest: Manifest,
    folder: RunFolder,
    device: torch.device,
    *,
    on_start: Callable[[Trainer], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Runs the recipe in its folder, from its checkpoint if it has one, to its end or until `stop`. Returns
    the closed trainer.

    A checkpoint is written at every epoch's end, every `checkpoint_every_steps`, at a stop and at the end.
    Raises what `Trainer` and `RunFolder` raise; a TrainingError then names the last good checkpoint too.
    """
    saved = folder.load(recipe)
    trainer = Trainer(recipe, manifest, device)
    try:
        if saved is not None:
            trainer.load_state_dict(saved)
        folder.start_metrics(trainer.step)
        saved_at = trainer.step
        if on_start is not None:
            on_start(trainer)

        def save() -> None:
            nonlocal saved_at
            save_checkpoint(folder.checkpoint_file, trainer.state_dict())
            saved_at = trainer.step

        def after_step(progress: Progress) -> None:
            if progress.metrics is not None:
                folder.log(progress.metrics)
            if on_step is not None:
                on_step(progress)
            every = recipe.checkpoint_every_steps
            if trainer.step % trainer.steps_per_epoch == 0 or (every and trainer.step % every == 0):
                save()

        try:
            trainer.run(on_step=after_step, stop=stop)
            if trainer.step != saved_at:
                save()
        except TrainingError as error:
            last = f"the last good checkpoint, of step {saved_at}, is {folder.checkpoint_file}"
            raise TrainingError(
                f"{error}; {last if folder.checkpoint_file.exists() else 'there is no checkpoint yet'}"
            ) from error
    finally:
        trainer.close()
    return trainer
