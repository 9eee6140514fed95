"""A run on the ranks of a world; see `tests.distributed.worlds`."""

from pathlib import Path
from typing import Any

import torch

from pipelines.manifest import load_manifest
from vicreg_fast.config import load_recipe
from vicreg_fast.distributed import ranks_of
from vicreg_fast.training.loop import Progress
from vicreg_fast.training.pretrain import pretrain
from vicreg_fast.training.run_folder import RunFolder


def pretrained(
    recipe_file: Path,
    images: Path,
    path: Path,
    stop_at: int | None = None,
    stopping_rank: int = 0,
    rank_1_images: Path | None = None,
    rank_1_path: Path | None = None,
) -> tuple[int, list[int]]:
    """(the step at which this rank ended, the steps that it logged). `stopping_rank` alone asks to stop, once
    it has done `stop_at` steps.
    """
    recipe, ranks = load_recipe(str(recipe_file)), ranks_of()
    if ranks.rank == 1:
        images, path = rank_1_images or images, rank_1_path or path
    at, logged = 0, []

    def note(progress: Progress) -> None:
        nonlocal at
        at = progress.step
        if progress.metrics is not None:
            logged.append(int(progress.metrics["step"]))

    def stop() -> bool:
        return ranks.rank == stopping_rank and stop_at is not None and at >= stop_at

    folder = RunFolder(path, recipe) if ranks.rank == 0 else None
    try:
        trainer = pretrain(
            recipe,
            load_manifest(images),
            folder,
            torch.device("cpu"),
            ranks=ranks,
            checkpoint_file=path / "checkpoint.pt",
            on_step=note,
            stop=stop,
        )
    finally:
        if folder is not None:
            folder.close()
    return trainer.step, logged


def refused(*arguments: Any) -> str:
    """The message of the error that every rank ends with."""
    try:
        pretrained(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"
