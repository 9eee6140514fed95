"""Where a stream of batches stands, and whose stream it is."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, TypeGuard

from vicreg_fast.errors import CheckpointError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Position:
    """`step` batches of `epoch` have been given. The fields before them must be equal for two streams to be
    the same."""

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
    began_at_epoch: int = 0
    """Where the stream of this many ranks began: above 0 when the run had another number of ranks before."""

    def after_batch(self, batches_per_epoch: int) -> Self:
        if self.step + 1 < batches_per_epoch:
            return replace(self, step=self.step + 1)
        return replace(self, epoch=self.epoch + 1, step=0)

    def state_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    def restored(self, state: dict[str, Any]) -> Self:
        """This stream at the position of `state`.

        A state of another number of ranks with the same global batch, at the beginning of an epoch, is that
        position of every rank: the epoch begins anew. Raises CheckpointError, naming the first field that
        differs otherwise.
        """
        if state.get("version") != VERSION:
            raise CheckpointError(
                f"loader state: version {state.get('version')!r} is not {VERSION}; start the run anew"
            )
        epoch, step, began = (
            state.get(name, _BEFORE.get(name)) for name in ("epoch", "step", "began_at_epoch")
        )
        if not (_is_count(epoch) and _is_count(step) and _is_count(began) and began <= epoch):
            raise CheckpointError("loader state: epoch or step is missing; start the run anew")
        if not self.redistributes(state):
            self._require_same(state, besides=_PLACE)
            return replace(self, epoch=epoch, step=step, began_at_epoch=began)
        self._require_same(state, besides=_PLACE | _SHARE)
        ranks = "1 rank" if state["world_size"] == 1 else f"{state['world_size']} ranks"
        whole = self.batch_size * self.world_size
        if state["batch_size"] * state["world_size"] != whole:
            raise CheckpointError(
                f"loader state: batch size {state['batch_size']} of {ranks} is not this run's global batch "
                f"of {whole}; {_MEND}"
            )
        if step != 0:
            raise CheckpointError(
                f"loader state: {ranks} wrote it within epoch {epoch}, and their number can change only "
                f"between epochs; resume with {ranks} until the end of the epoch, or start anew"
            )
        return replace(self, epoch=epoch, step=0, began_at_epoch=epoch)

    def redistributes(self, state: dict[str, Any]) -> bool:
        """Whether `state` is of another number of ranks."""
        batch_size, world_size = state.get("batch_size"), state.get("world_size")
        return _is_count(batch_size) and _is_count(world_size) and world_size != self.world_size

    def _require_same(self, state: dict[str, Any], *, besides: Collection[str]) -> None:
        for name in (field.name for field in fields(self) if field.name not in besides):
            mine, its = getattr(self, name), state.get(name, _BEFORE.get(name))
            if mine != its:
                raise CheckpointError(
                    f"loader state: {_WORDS[name]} {its!r} is not this run's {mine!r}; {_MEND}"
                )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


_PLACE = frozenset({"epoch", "step", "began_at_epoch"})
_SHARE = frozenset({"rank", "world_size", "batch_size"})
"""What a rank's share of the global batch is."""
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
_BEFORE: dict[str, Any] = {"batches_per_step": 1, "began_at_epoch": 0}
"""Of a state that was written before there was the field."""
