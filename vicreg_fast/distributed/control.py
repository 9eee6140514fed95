"""What ranks tell each other beside the gradients: small messages on the host, never on a device's streams.

They go over the CPU's back end (gloo) of the default process group, in the order in which every rank makes
them.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vicreg_fast.distributed.ranks import Ranks


class Agreement:
    """Yes-or-no questions on which all ranks act at the same step, asked once a step.

    One rank is answered at once. Several are answered with what was asked one step before, so that no rank
    waits for another: the exchange runs while the step computes. A question counts as asked where any rank
    asks it.
    """

    def __init__(self, ranks: Ranks, questions: int) -> None:
        self._ranks = ranks
        self._questions = questions
        self._pending: tuple[dist.Work, Tensor] | None = None

    def ask(self, *asked: bool) -> tuple[bool, ...]:
        """The answers, alike on every rank. Each rank must call it as often as the others."""
        if len(asked) != self._questions:
            raise ValueError(f"{len(asked)} questions, where {self._questions} are agreed on")
        if self._ranks.group is None:
            return asked
        answers = self.settle()
        votes = torch.tensor(asked, dtype=torch.int32)
        work = dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self._ranks.group, async_op=True)
        self._pending = work, votes
        return answers

    def settle(self) -> tuple[bool, ...]:
        """The answers to what was asked last, if that was not told yet: nothing is on its way after it."""
        if self._pending is None:
            return (False,) * self._questions
        work, votes = self._pending
        self._pending = None
        work.wait()
        return tuple(bool(vote) for vote in votes.tolist())


def gather_states(state: Any, ranks: Ranks) -> list[Any] | None:
    """Every rank's picklable `state`, in their order, on rank 0; None on the others. Tensors in it should be
    on the CPU.
    """
    if ranks.group is None:
        return [state]
    gathered: list[Any] | None = [None] * ranks.world_size if ranks.rank == 0 else None
    dist.gather_object(state, gathered, dst=dist.get_global_rank(ranks.group, 0), group=ranks.group)
    return gathered


def share_states(state: Any, ranks: Ranks) -> list[Any]:
    """Every rank's picklable `state`, in their order, on every rank."""
    if ranks.group is None:
        return [state]
    gathered: list[Any] = [None] * ranks.world_size
    dist.all_gather_object(gathered, state, group=ranks.group)
    return gathered


def first_ranks(values: list[float], ranks: Ranks) -> list[float]:
    """Rank 0's `values`, on every rank: what ranks decide by must be alike to the last bit."""
    if ranks.group is None:
        return values
    told = torch.tensor(values, dtype=torch.float64)
    dist.broadcast(told, src=dist.get_global_rank(ranks.group, 0), group=ranks.group)
    found: list[float] = told.tolist()
    return found


__all__ = ["Agreement", "first_ranks", "gather_states", "share_states"]
