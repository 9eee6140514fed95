"""What ranks do with each other's messages; see `tests.distributed.worlds`."""

from typing import Any

from vicreg_fast.distributed import ranks_of
from vicreg_fast.distributed.control import Agreement, first_ranks, gather_states, share_states


def answers(asked: list[dict[int, tuple[bool, bool]]]) -> list[tuple[bool, ...]]:
    """What this rank is answered when, step by step, some ranks ask something and the others nothing."""
    ranks = ranks_of()
    agreement = Agreement(ranks, questions=2)
    told = [agreement.ask(*step.get(ranks.rank, (False, False))) for step in asked]
    return [*told, agreement.settle(), agreement.settle()]


def gathered() -> tuple[Any, Any]:
    ranks = ranks_of()
    state = {"rank": ranks.rank, "bytes": bytes([ranks.rank])}
    return gather_states(state, ranks), share_states(ranks.rank, ranks)


def first_told() -> list[float]:
    ranks = ranks_of()
    return first_ranks([0.1 * (ranks.rank + 1), float(ranks.rank)], ranks)
