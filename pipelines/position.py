"""Where a stream of batches stands, and whose stream it is."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from vicreg_fast.errors import CheckpointError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Position:
    """`step` batches of `epoch` have been given. The other fields must be equal for two streams to be the
    same."""

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
    """Below the steps of an epoch: after an epoch's last batch it is 0 of the next."""

    def after_batch(self, batches_per_epoch: int) -> Self:
        if self.step + 1 < batches_per_epoch:
            return replace(self, step=self.step + 1)
        return replace(self, epoch=self.epoch + 1, step=0)

    def state_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    def restored(self, state: dict[str, Any]) -> Self:
        """This stream at the position of `state`. Raises CheckpointError, naming the first field that
        differs."""
        if state.get("version") != VERSION:
            raise CheckpointError(
                f"loader state: version {state.get('version')!r} is not {VERSION}; start the run anew"
            )
        for field in fields(self):
            if field.name in ("epoch", "step"):
                continue
            mine, its = getattr(self, field.name), state.get(field.name, _BEFORE.get(field.name))
            if mine != its:
                raise CheckpointError(
                    f"loader state: {_WORDS[field.name]} {its!r} is not this run's {mine!r}; {_MEND}"
                )
        epoch, step = state.get("epoch"), state.get("step")
        if not (isinstance(epoch, int) and isinstance(step, int) and epoch >= 0 and step >= 0):
            raise CheckpointError("loader state: epoch or step is missing; start the run anew")
        return replace(self, epoch=epoch, step=step)


_MEND = "resume with what the run began with, or start anew"
_WORDS = {
    "pipeline": "pipeline",
    "data": "data set (fingerprint)",
    "augmentation": "augmentation",
    "image_size": "image_size",
    "batch_size": "batch size of a rank",
    "seed": "seed",
    "rank": "rank",
    "world_size": "world size",
    "batches_per_step": "number of batches a step",
}
_BEFORE: dict[str, Any] = {"batches_per_step": 1}
"""Of a state that was written before there was the field."""
