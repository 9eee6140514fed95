"""Linear accuracy of a scenario: its recipe trained whole, and its trunk probed as it was on the way.

Probes run after the training, on copies of the trunk: one in between would leave the loader time to make
batches that no training waits for, and make a slow loader look faster than it is. The clock starts at the end
of the first step, with the loader started and the step compiled: a short recipe says nothing about these.
"""

import copy
import time
from collections.abc import Callable, Sequence

import torch

from bench.record import Accuracy, AccuracyPoint
from bench.scenarios import Built
from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.evaluation.evaluate import Evaluation, EvaluationSet
from vicreg_fast.model.backbone import Backbone
from vicreg_fast.training.loop import Progress, Trainer

CURVE_POINTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
"""Shares of a run at which its trunk is probed, where its curve is wanted."""
SECONDS_BETWEEN_NOTES = 1.0


def measure_accuracy(
    built: Built,
    manifest: Manifest,
    evaluation: EvaluationSet,
    device: torch.device,
    *,
    seed: int,
    curve: bool,
    tell: Callable[[str], None],
) -> Accuracy:
    """Trains the scenario's recipe with that seed and probes its trunk, at its end and, with `curve`, on the
    way. `tell` hears of the progress.

    Raises TrainingError when the loss becomes non-finite or the embeddings collapse, DataError when an image
    cannot be read.
    """
    trainer = Trainer(
        built.recipe.replace(seed=seed),
        manifest,
        device,
        loss=built.loss,
        make_optimizer=built.make_optimizer,
    )
    try:
        kept, loss = _train(trainer, CURVE_POINTS if curve else (1.0,), tell)
        steps, steps_per_epoch = trainer.total_steps, trainer.steps_per_epoch
    finally:
        trainer.close()
    points = []
    for number, (step, seconds, trunk) in enumerate(kept):
        tell(f"probe {number + 1} of {len(kept)}")
        probed = evaluation.trunk(trunk)
        points.append(AccuracyPoint(step=step, seconds=seconds, linear_top1=probed.linear.top1))
    return Accuracy(
        subject=built.record.name,
        seed=seed,
        linear_top1=probed.linear.top1,
        knn_top1=probed.knn_top1,
        classes=evaluation.classes,
        test_images=len(evaluation.test.labels),
        epochs=round(steps / steps_per_epoch),
        steps=steps,
        pretrain_seconds=points[-1].seconds,
        final_loss=loss,
        curve=tuple(points) if curve else (),
    )


def measure_floors(recipe: Recipe, evaluation: EvaluationSet, *, with_pixels: bool) -> tuple[Accuracy, ...]:
    """What the untrained trunk of the recipe's seed gives, and what the pixels do where asked."""
    floors = {"random-trunk": evaluation.random_trunk(recipe)}
    if with_pixels:
        floors["raw-pixels"] = evaluation.raw_pixels()
    return tuple(_floor(subject, recipe.seed, evaluation, found) for subject, found in floors.items())


def _train(
    trainer: Trainer, shares: Sequence[float], tell: Callable[[str], None]
) -> tuple[list[tuple[int, float, Backbone]], float]:
    """(step, seconds, trunk) at each of the shares of the run, and the last loss."""
    told_at = time.monotonic()

    def note(progress: Progress) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= SECONDS_BETWEEN_NOTES:
            told_at = time.monotonic()
            tell(f"step {progress.step} of {progress.total_steps}")

    kept = []
    seconds = 0.0
    trainer.run(until=1, on_step=note)
    total = trainer.total_steps
    for step in sorted({min(total, max(2, round(share * total))) for share in shares}):
        _synchronize(trainer.device)
        began = time.perf_counter()
        trainer.run(until=step, on_step=note)
        _synchronize(trainer.device)
        seconds += time.perf_counter() - began
        kept.append((trainer.step, seconds, copy.deepcopy(trainer.train_step.network.backbone)))
    return kept, trainer.last_loss


def _floor(subject: str, seed: int, evaluation: EvaluationSet, found: Evaluation) -> Accuracy:
    return Accuracy(
        subject=subject,
        seed=seed,
        linear_top1=found.linear.top1,
        knn_top1=found.knn_top1,
        classes=evaluation.classes,
        test_images=len(evaluation.test.labels),
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
