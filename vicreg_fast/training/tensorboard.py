"""`--tensorboard`: the logged numbers as scalars in RUN/tensorboard, beside metrics.jsonl."""

from collections.abc import Mapping
from pathlib import Path

from vicreg_fast.errors import CheckpointError, UsageError

GROUPS = {
    "loss": ("loss", "invariance", "variance", "covariance"),
    "embeddings": ("std_mean", "std_min", "dead_fraction", "effective_rank", "off_diagonal_energy"),
    "speed": ("pairs_per_second", "loader_wait_share"),
    "schedule": ("learning_rate", "epoch"),
}
"""TensorBoard's sections, and the metrics in each. One that is in none is under `run`."""

_TAGS = {name: f"{group}/{name}" for group, names in GROUPS.items() for name in names}


def require_tensorboard() -> None:
    """Raises UsageError, which names the extra to install, where the package `tensorboard` is not there."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--tensorboard: the package tensorboard is not installed; "
            "pip install 'vicreg-fast[profile]', or leave the option out (metrics.jsonl has the same numbers)"
        ) from error


class TensorBoardLog:
    """Appends to the event files of `folder`, which is made if need be.

    folder: RUN/tensorboard.
    from_step: steps done when the session starts; what another session logged after that step, and a kill
    lost, TensorBoard then shows no more.

    Raises UsageError as `require_tensorboard` does, and CheckpointError where the folder cannot be written.
    """

    def __init__(self, folder: Path, from_step: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer = SummaryWriter(str(folder), purge_step=from_step + 1, flush_secs=30)
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written ({error.strerror})") from error

    def log(self, metrics: Mapping[str, float | int]) -> None:
        """One scalar each, at `metrics["step"]`."""
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(_TAGS.get(name, f"run/{name}"), value, metrics["step"])

    def close(self) -> None:
        self._writer.close()
