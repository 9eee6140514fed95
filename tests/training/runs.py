"""Runs in their folders, and what is compared of them."""

import json
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.manifest import Manifest, load_manifest
from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.training.checkpoint import load_checkpoint
from vicreg_fast.training.loop import Trainer
from vicreg_fast.training.pretrain import pretrain
from vicreg_fast.training.run_folder import RunFolder

CPU = torch.device("cpu")
TINY = Recipe(
    name="tiny",
    augmentation="small-images",
    image_size=32,
    pipeline="torchvision",
    workers=1,
    backbone="resnet10",
    width=4,
    stem="imagenet",
    zero_init_residual=False,
    expander="16-16",
    batch_size=8,
    epochs=3,
    optimizer="adamw",
    base_lr=0.05,
    warmup_epochs=0.5,
    precision="fp32",
    log_every_steps=3,
)
"""A network small enough to train in moments, and of each kind of layer."""
CLOCK = {"pairs_per_second", "loader_wait_share", "seconds"}


def run(recipe: Recipe, manifest: Manifest, path: Path, stop_at: int | None = None) -> Trainer:
    at = 0

    def note(progress: Any) -> None:
        nonlocal at
        at = progress.step

    with RunFolder(path, recipe) as folder:
        return pretrain(
            recipe, manifest, folder, CPU, on_step=note, stop=lambda: stop_at is not None and at >= stop_at
        )


def metrics(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def weights(path: Path) -> dict[str, Tensor]:
    network: dict[str, Tensor] = load_checkpoint(path / "checkpoint.pt")["train_step"]["network"]
    return network


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def pretrain_in(recipe_file: Path, images: Path, path: Path, stepped: Connection) -> None:
    """A run in a process of its own, which says of each step that it has done it."""
    torch.set_num_threads(1)
    recipe = load_recipe(str(recipe_file))
    with RunFolder(path, recipe) as folder:
        pretrain(
            recipe,
            load_manifest(images),
            folder,
            CPU,
            on_step=lambda progress: stepped.send(progress.step),
        )
