"""Where a stream of batches stands, and whose stream it is."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TypeGuard

from vicreg_fast.errors import CheckpointError

VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Position:
    """`step` batches of `epoch` have been given to each rank."""

    pipeline: str
    data: str
    """The manifest's fingerprint."""
    augmentation: str
    image_size: int
    batch_size: int
    seed: int
    rank: int
    world_size: int
    batches_per_step: int = 1
    epoch: int = 0
    step: int = 0
    """Below the batches of an epoch: after an epoch's last batch it is 0 of the next."""

    def after_batch(self, batches_per_epoch: int) -> Self:
        if self.step + 1 < batches_per_epoch:
            return replace(self, step=self.step + 1)
        return replace(self, epoch=self.epoch + 1, step=0)

    def state_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    def restored(self, state: dict[str, Any]) -> Self:
        """This stream at the position of `state`, which any number of ranks with the same global batch may
        have written. Raises CheckpointError, naming the first field that differs otherwise.
        """
        if state.get("version") != VERSION:
            raise CheckpointError(
                f"loader state: version {state.get('version')!r} is not {VERSION}: its views came "
                "from other random numbers; start the run anew"
            )
        epoch, step, batch_size, world_size = (
            state.get(name) for name in ("epoch", "step", "batch_size", "world_size")
        )
        if not (_is_count(epoch) and _is_count(step) and _is_count(batch_size) and _is_count(world_size)):
            raise CheckpointError("loader state: epoch, step or batch is missing; start the run anew")
        self._require_same(state)
        whole = self.batch_size * self.world_size
        if batch_size * world_size != whole:
            ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
            raise CheckpointError(
                f"loader state: batch size {batch_size} of {ranks} is not this run's global batch "
                f"of {whole}; {_MEND}"
            )
        return replace(self, epoch=epoch, step=step)

    def _require_same(self, state: dict[str, Any]) -> None:
        for name, words in _WORDS.items():
            mine, its = getattr(self, name), state.get(name)
            if mine != its:
                raise CheckpointError(f"loader state: {words} {its!r} is not this run's {mine!r}; {_MEND}")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


_MEND = "resume with what the run began with, or start anew"
_WORDS = {
    "pipeline": "pipeline",
    "data": "data set (fingerprint)",
    "augmentation": "augmentation",
    "image_size": "image_size",
    "seed": "seed",
    "batches_per_step": "number of batches a step",
}
"""What has to be the same for two streams to be the same, in words."""
