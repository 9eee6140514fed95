"""A step small enough to be taken in milliseconds, and batches for it."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe
from vicreg_fast.training.step import TrainingStep

STEPS_PER_EPOCH = 4


def small(**options: Any) -> Recipe:
    """A recipe of two residual blocks' width 4, with a warm-up of two steps and a cosine of ten."""
    settings: dict[str, Any] = {
        "augmentation": "small-images",
        "image_size": 16,
        "backbone": "resnet10",
        "width": 4,
        "stem": "cifar",
        "zero_init_residual": False,
        "expander": "16-24",
        "batch_size": 6,
        "epochs": 3,
        "warmup_epochs": 0.5,
        "optimizer": "lars",
        "base_lr": 4.0,
        "weight_decay": 1e-3,
        "precision": "fp32",
    }
    return Recipe(**(settings | options))


def random_batches(
    steps: int, n: int = 6, accumulate: int = 1, device: torch.device | str = "cpu"
) -> list[list[ViewBatch]]:
    """Micro-batches of so many steps, the same each time."""
    generator = torch.Generator().manual_seed(5)
    shape = (steps, accumulate, 2, n, 3, 16, 16)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    label = torch.zeros(n, dtype=torch.int64, device=device)
    return [[ViewBatch(x, y, label) for x, y in step] for step in images]


def tensors_of(step: TrainingStep) -> list[Tensor]:
    """All that a step changes."""
    return [leaf for leaf in tree_leaves(step.state_dict()) if isinstance(leaf, Tensor)]
