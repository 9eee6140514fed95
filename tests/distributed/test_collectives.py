"""A step makes the collectives that it promises, of the bytes that the plan counts, and none backward."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from tests.distributed.steps import Case, embeddings_of
from tests.distributed.worlds import World
from vicreg_fast.loss import plan_loss, vicreg_loss

CASES = [
    Case(n=6, D=41),
    Case(n=6, D=41, backend="triton", dtype="bfloat16"),
    Case(n=6, D=41, dtype="bfloat16"),
    Case(n=11, D=26, form="covariance"),
    Case(n=11, D=26, form="covariance", backend="triton", dtype="float32"),
    Case(n=41, D=5),
]


class Collectives(TorchDispatchMode):
    """Notes every operator of c10d: its name, and the bytes of its largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            tensors = [leaf for leaf in tree_iter(args) if isinstance(leaf, torch.Tensor)]
            self.seen.append((func._opname, max(tensor.nbytes for tensor in tensors)))
        return func(*args, **(kwargs or {}))


def collectives_of(case: Case) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """On a rank: what the forward exchanges, and what the backward does."""
    x, y = (z[: case.n].detach().requires_grad_() for z in embeddings_of(case, dist.get_world_size()))
    with Collectives() as forward:
        loss = vicreg_loss(x, y, **case.options)
    with Collectives() as backward:
        loss.backward()
    assert x.grad is not None
    return forward.seen, backward.seen


def nothing_exchanged(case: Case) -> list[tuple[str, int]]:
    x, y = embeddings_of(case, 2)
    with Collectives() as seen:
        vicreg_loss(x, y, distributed=False, **case.options).backward()
    return seen.seen


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_step_exchanges(case: Case, world: World) -> None:
    W, n, D = world.size, case.n, case.D
    plan = plan_loss(n, W * n, D, case.torch_dtype, "cpu", W, form=case.form)
    wide = 8 if case.dtype == "float64" else 4
    even = ("_allgather_base_", W * 3 * 8)  # that batches are even: three numbers a rank, on a CPU
    if plan.exchange == "gather":
        # this rank has its own share of the gathered bytes already
        large = [("_allgather_base_", plan.exchange_bytes * W // (W - 1))]
    else:
        moments = ("_allgather_base_", W * 3 * 2 * D * wide)
        large = [moments, ("allreduce_", 2 * D * D * wide)]
    terms = ("allreduce_", (2 if case.backend == "triton" else 3) * wide)
    for forward, backward in world.run(collectives_of, case):
        assert forward == [even, *large, terms]
        assert backward == []


def test_one_process_by_choice_exchanges_nothing(pair: World) -> None:
    assert pair.run(nothing_exchanged, CASES[0]) == [[], []]
