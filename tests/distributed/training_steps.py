"""Steps of training in float64, on a rank of several and with the whole batch in one process."""

from dataclasses import dataclass
from typing import Any

import torch

from pipelines.contract import ViewBatch
from tests.training.steps import STEPS_PER_EPOCH, random_batches, small
from vicreg_fast.distributed import SINGLE, ranks_of
from vicreg_fast.training.step import TrainingStep

ROWS = 8
"""Of a micro-batch, over all ranks."""


@dataclass(frozen=True, kw_only=True)
class Training:
    optimizer: str = "lars"
    accumulate: int = 1
    sync_batchnorm: bool = True
    steps: int = 5


def trained(training: Training, W: int) -> dict[str, Any]:
    """Losses, terms of the last step, and the network, of this process: a rank of W, or the only one."""
    ranks = ranks_of() if W > 1 else SINGLE
    assert ranks.world_size == W
    recipe = small(
        optimizer=training.optimizer,
        accumulate=training.accumulate,
        sync_batchnorm=training.sync_batchnorm,
        batch_size=ROWS * training.accumulate,
        base_lr=8.0 if training.optimizer == "lars" else 0.5,
    )
    step = TrainingStep(
        recipe, torch.device("cpu"), steps_per_epoch=STEPS_PER_EPOCH, ranks=ranks, dtype=torch.float64
    )
    rows = ranks.rows(ROWS // W)
    losses = []
    for batches in random_batches(training.steps, n=ROWS, accumulate=training.accumulate):
        loss, terms = step([ViewBatch(*(part[rows] for part in batch)) for batch in batches])
        losses.append(loss.item())
    return {
        "losses": losses,
        "terms": {name: value.item() for name, value in terms._asdict().items()},
        "network": {name: value.numpy() for name, value in step.network.state_dict().items()},
        "steps": int(step.step_count),
    }
