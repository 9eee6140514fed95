"""The loop: batches through the step, with metrics, guards and a clean stop.

A `Trainer` is a run in memory: what it is given decides every number it makes.
`vicreg_fast.training.pretrain` gives it a folder.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim
from torch.profiler import record_function

from pipelines.contract import ViewBatch, ViewPipeline
from pipelines.factory import make_views
from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.distributed import SINGLE, Ranks
from vicreg_fast.distributed.control import Agreement, first_ranks, gather_states
from vicreg_fast.errors import CheckpointError, TrainingError, UsageError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training.health import CollapseGuard
from vicreg_fast.training.optimizers import build_optimizer
from vicreg_fast.training.precision import resolve_precision
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
    asked_to_save: bool = False
    """Some rank asked for a checkpoint at this step."""


class Trainer:
    """A pretraining run in memory, this rank's part of it: pipeline, step and position. Close it when done.

    Several ranks make their trainers, and call `run`, `state_dict` and `load_state_dict`, alike.
    """

    def __init__(
        self,
        recipe: Recipe,
        manifest: Manifest,
        device: torch.device,
        *,
        ranks: Ranks = SINGLE,
        loss: LossFunction | None = None,
        make_optimizer: Callable[[Recipe, nn.Module], optim.Optimizer] = build_optimizer,
    ) -> None:
        """Raises UsageError when the recipe's batch does not divide among the ranks, or the device cannot do
        what it asks for; DataError when the set is smaller than a batch.
        """
        recipe, self.precision_why = resolve_precision(recipe, device)
        self.recipe = recipe
        """With the precision that it is trained in, never `auto`."""
        self.device = device
        self.ranks = ranks
        self.views: ViewPipeline = make_views(
            recipe.pipeline,
            manifest,
            augmentation=recipe.augmentation,
            image_size=recipe.image_size,
            batch_size=local_batch_size(recipe, ranks.world_size),
            batches_per_step=recipe.accumulate,
            decoder_cache=recipe.decoder_cache,
            seed=recipe.seed,
            workers=recipe.workers,
            device=device,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        self.steps_per_epoch = self.views.batches_per_epoch // recipe.accumulate
        try:
            self.train_step = TrainingStep(
                recipe,
                device,
                steps_per_epoch=self.steps_per_epoch,
                loss=loss,
                make_optimizer=make_optimizer,
                ranks=ranks,
            )
        except BaseException:
            self.views.close()
            raise
        self.total_steps = planned_steps(recipe, self.steps_per_epoch)
        self.step = 0
        self.seconds = 0.0
        """Training time so far, over all the sessions of the run, in wall seconds."""
        self.loader_wait_seconds = 0.0
        self.saved_step = 0
        """The step of the run's last checkpoint, which is `pretrain`'s to write."""
        self.last_loss = math.nan
        self.smoothed_loss = math.nan
        """An exponential moving average over the logged losses, by which the best checkpoint is chosen."""
        self.guard = CollapseGuard(patience=recipe.collapse_patience, gamma=recipe.gamma)
        self._latest: tuple[torch.Tensor, VICRegTerms] | None = None

    def run(
        self,
        *,
        until: int | None = None,
        on_step: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        save: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Trains up to step `until` (the end by default). Returns False when `stop` asked for an earlier end,
        after a whole step. `stop` and `save` are asked before each step, on every rank; of several ranks all
        act on the answer of any, at the same step, one step later.

        Raises TrainingError when a logged loss is not finite or the embeddings collapsed, DataError when an
        image cannot be read.
        """
        end = self.total_steps if until is None else min(until, self.total_steps)
        batches = iter(self.views)
        agreement = Agreement(self.ranks, questions=2)
        window_start, window_wait, window_step = time.perf_counter(), self.loader_wait_seconds, self.step
        seconds_before = self.seconds
        while self.step < end:
            stop_now, save_now = agreement.ask(stop(), save())
            if stop_now:
                agreement.settle()
                return False
            loss, terms = self.train_step(self._next_batches(batches))
            self.step += 1
            self._latest = (loss, terms)
            self.seconds = seconds_before + (time.perf_counter() - window_start)
            metrics: Metrics | None = None
            collapse: TrainingError | None = None
            if self.step % self.recipe.log_every_steps == 0 or self.step == self.total_steps:
                # The one place that reads from the device: everything before it is in flight until here.
                values = self._read_finite()
                rate = float(self.train_step.learning_rate)
                now = time.perf_counter()
                elapsed = now - window_start
                self.seconds = seconds_before + elapsed
                self._note_loss(values[0])
                metrics = {
                    "step": self.step,
                    "epoch": self.step / self.steps_per_epoch,
                    **dict(zip(("loss", *terms._fields), values, strict=True)),
                    "learning_rate": rate,
                    "pairs_per_second": (self.step - window_step) * self.recipe.batch_size / elapsed,
                    "loader_wait_share": (self.loader_wait_seconds - window_wait) / elapsed,
                    "seconds": self.seconds,
                }
                window_start, window_wait, window_step = now, self.loader_wait_seconds, self.step
                seconds_before = self.seconds
                try:
                    self.guard(metrics)
                except TrainingError as error:
                    collapse = error
            if on_step is not None:
                on_step(
                    Progress(
                        step=self.step,
                        total_steps=self.total_steps,
                        epoch=(self.step - 1) // self.steps_per_epoch,
                        metrics=metrics,
                        asked_to_save=save_now,
                    )
                )
            if collapse is not None:  # not before what watches the run has the numbers that show it
                raise collapse
        agreement.settle()
        self.seconds = seconds_before + (time.perf_counter() - window_start)
        return True

    def _next_batches(self, batches: Iterator[ViewBatch]) -> list[ViewBatch]:
        waited_from = time.perf_counter()
        with record_function("pipeline"):
            found = [next(batches) for _ in range(self.recipe.accumulate)]
        self.loader_wait_seconds += time.perf_counter() - waited_from
        return found

    def _note_loss(self, loss: float) -> None:
        self.last_loss = loss
        before = loss if math.isnan(self.smoothed_loss) else self.smoothed_loss
        self.smoothed_loss = 0.9 * before + 0.1 * loss

    def _read_finite(self) -> list[float]:
        """The last step's loss and terms, on the host."""
        assert self._latest is not None
        loss, terms = self._latest
        values = first_ranks(torch.stack([loss, *terms]).double().tolist(), self.ranks)
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

    def state_dict(self) -> dict[str, Any] | None:
        """On rank 0 everything that the rest of the run depends on, every rank's part of it; None on the
        others. Tensors may be those that the next step changes.

        Raises TrainingError rather than give a run whose loss or weights are not finite.
        """
        self._require_finite()
        on_gpu = self.device.type == "cuda"
        mine = {
            "views": self.views.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if on_gpu else None,
        }
        gathered = gather_states(mine, self.ranks)
        if gathered is None:
            return None
        return {
            "recipe": self.recipe.model_dump(),
            "step": self.step,
            "seconds": self.seconds,
            "smoothed_loss": self.smoothed_loss,
            "guard": self.guard.state_dict(),
            "train_step": self.train_step.state_dict(),
            "pipeline": self.views.name,
            "ranks": gathered,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rank 0's `state_dict`, on every rank; any number of ranks may have written it.

        Raises CheckpointError when the state is of another pipeline, data set, global batch or network.
        """
        if state["pipeline"] != self.views.name:
            raise CheckpointError(
                f"the checkpoint was trained with the {state['pipeline']} pipeline and this run has "
                f"{self.views.name}; use --pipeline {state['pipeline']}, or another --out"
            )
        same_world = len(state["ranks"]) == self.ranks.world_size
        own = state["ranks"][self.ranks.rank if same_world else 0]
        self.views.load_state_dict(own["views"])
        try:
            self.train_step.load_state_dict(state["train_step"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the checkpoint does not fit the recipe's network or optimiser ({reason}); "
                "choose another --out, or ask for the same recipe"
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        self.smoothed_loss = state["smoothed_loss"]
        self.guard.load_state_dict(state["guard"])
        torch.set_rng_state(own["rng"].cpu())
        if own["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda_rng"].cpu(), self.device)

    def close(self) -> None:
        self.train_step.close()
        self.views.close()


def local_batch_size(recipe: Recipe, world_size: int) -> int:
    """Images of one micro-batch on one rank. Raises UsageError when the batch does not divide so."""
    parts = recipe.accumulate * world_size
    if recipe.batch_size % parts or recipe.batch_size < 2 * world_size * recipe.accumulate:
        among = f"{world_size} ranks" + (f" × accumulate = {recipe.accumulate}" * (recipe.accumulate > 1))
        nearest = max(2, round(recipe.batch_size / parts)) * parts
        raise UsageError(
            f"batch_size = {recipe.batch_size} does not divide among {among} into two images or more each; "
            f"use --set batch_size={nearest}"
        )
    return recipe.batch_size // parts
