"""A run in its folder: killed at any moment, it goes on from its last checkpoint. On a CPU it then has
bitwise the weights of a run never killed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.distributed import SINGLE, Ranks
from vicreg_fast.distributed.control import share_states
from vicreg_fast.errors import CheckpointError, DataError, TrainingError
from vicreg_fast.training.checkpoint import checkpoint_to_resume
from vicreg_fast.training.checkpoint_writer import CheckpointWriter
from vicreg_fast.training.loop import Progress, Trainer
from vicreg_fast.training.precision import choose_precision
from vicreg_fast.training.run_folder import RunFolder


def pretrain(
    recipe: Recipe,
    manifest: Manifest,
    folder: RunFolder | None,
    device: torch.device,
    *,
    ranks: Ranks = SINGLE,
    checkpoint_file: Path | None = None,
    on_start: Callable[[Trainer], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Runs the recipe in its folder, from its checkpoint if it has one, to its end or until `stop`. Returns
    the closed trainer.

    Every rank calls it. Rank 0 has the folder; the others have None and `checkpoint_file`, which is the
    folder's, on storage that they all see. A checkpoint is written at every epoch's end, every
    `checkpoint_every_steps`, after `checkpoint_every_minutes`, at a stop and at the end; but not while the
    embeddings look collapsed. Precision `auto` is the checkpoint's where there is one, else what rank 0's
    device makes of it, on every rank.

    Raises what `Trainer` and `RunFolder` raise; a TrainingError then names the last good checkpoint too.
    """
    file = folder.checkpoint_file if folder is not None else checkpoint_file
    if file is None:
        raise ValueError("a rank without a folder needs checkpoint_file")
    saved = checkpoint_to_resume(file, recipe)
    _require_alike(manifest, None if saved is None else saved["step"], file, ranks)
    precision, why = share_states(_choose_precision(recipe, saved, device), ranks)[0]
    writer = CheckpointWriter(file, keep=recipe.keep_checkpoints)
    trainer = Trainer(recipe.replace(precision=precision), manifest, device, ranks=ranks)
    trainer.precision_why = why
    try:
        if saved is not None:
            trainer.load_state_dict(saved)
        best = trainer.smoothed_loss if saved is None else saved["best_loss"]
        saved_at = trainer.step
        saved_time = time.monotonic()
        if folder is not None:
            folder.start_metrics(trainer.step)
        if on_start is not None:
            on_start(trainer)

        asked = False

        def due() -> bool:
            nonlocal asked
            if asked or ranks.rank != 0 or not recipe.checkpoint_every_minutes:
                return False
            # Once: several ranks are answered a step later, and would save at the step after that again.
            asked = time.monotonic() - saved_time >= 60 * recipe.checkpoint_every_minutes
            return asked

        def save() -> None:
            nonlocal saved_at, saved_time, best
            state = trainer.state_dict()
            if state is not None:
                is_best = not trainer.smoothed_loss >= best  # the first, too, where best is no number
                best = trainer.smoothed_loss if is_best else best
                writer.save({**state, "best_loss": best}, trainer.step, best=is_best)
            saved_at, saved_time = trainer.step, time.monotonic()

        def after_step(progress: Progress) -> None:
            nonlocal asked
            asked = asked and not progress.asked_to_save
            if progress.metrics is not None and folder is not None:
                folder.log(progress.metrics)
            if on_step is not None:
                on_step(progress)
            every = recipe.checkpoint_every_steps
            wanted = trainer.step % trainer.steps_per_epoch == 0 or (every and trainer.step % every == 0)
            if (wanted or progress.asked_to_save) and not trainer.guard.suspicious:
                save()

        try:
            if trainer.run(on_step=after_step, stop=stop, save=due):
                trainer.guard.require_healthy()
            if trainer.step != saved_at and not trainer.guard.suspicious:
                save()
            writer.wait()
        except TrainingError as error:
            writer.wait()
            last = f"the last good checkpoint, of step {saved_at}, is {file}"
            raise TrainingError(
                f"{error}; {last if file.exists() else 'there is no checkpoint yet'}"
            ) from error
        trainer.saved_step = saved_at
    finally:
        writer.close()
        trainer.close()
    return trainer


def _choose_precision(recipe: Recipe, saved: dict[str, Any] | None, device: torch.device) -> tuple[str, str]:
    if saved is not None and recipe.precision == "auto":
        return saved["recipe"]["precision"], "the run began with it"
    return choose_precision(recipe.precision, device)


def _require_alike(manifest: Manifest, step: int | None, file: Path, ranks: Ranks) -> None:
    """Raises, on every rank, unless all have the same images and see the same checkpoint."""
    data, steps = zip(*share_states((manifest.fingerprint, step), ranks), strict=True)
    for rank, (other, at) in enumerate(zip(data, steps, strict=True)):
        if other != data[0]:
            raise DataError(
                f"rank {rank} has other images than rank 0 ({manifest.root}); give every node the same --data"
            )
        if at != steps[0]:
            seen = [
                f"rank {r} sees {'none' if s is None else f'step {s}'}"
                for r, s in ((0, steps[0]), (rank, at))
            ]
            raise CheckpointError(f"{file}: {', '.join(seen)}; put --out on storage that all nodes share")
