"""torch.compile(fullgraph=True) traces through the loss of several ranks; its operator exchanges and refuses
as the eager one does.
"""

from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.distributed.steps import Case, embeddings_of
from tests.distributed.worlds import World
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegLoss

CASES = [Case(n=6, D=41), Case(n=41, D=5), Case(n=6, D=41, backend="triton", dtype="float32")]


def compiled_and_eager(case: Case) -> list[list[Any]]:
    """On a rank: the loss, its terms and the gradient of the first view, compiled and not."""
    torch._dynamo.reset()
    rank, W = dist.get_rank(), dist.get_world_size()
    x, y = embeddings_of(case, W)
    module = VICRegLoss(form=case.form, backend=case.backend)
    found = []
    for call in (torch.compile(module, fullgraph=True, backend="aot_eager"), module):
        local = x[rank * case.n : (rank + 1) * case.n].detach().requires_grad_()
        loss, terms = call(local, y[rank * case.n : (rank + 1) * case.n].detach(), return_terms=True)
        loss.backward()
        assert local.grad is not None
        found.append([loss.item(), *(term.item() for term in terms), *local.grad.flatten().tolist()])
    return found


def compiled_refusal() -> str:
    torch._dynamo.reset()
    x = torch.ones(3 + dist.get_rank(), 4)
    loss = torch.compile(VICRegLoss(), fullgraph=True, backend="aot_eager")
    with pytest.raises(UsageError) as caught:
        loss(x, x)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compiled_is_eager(case: Case, pair: World) -> None:
    for compiled, eager in pair.run(compiled_and_eager, case):
        assert compiled == eager


def test_a_compiled_loss_refuses_embeddings_that_differ(pair: World) -> None:
    for message in pair.run(compiled_refusal):
        assert "rank 0: 3×4 float32, rank 1: 4×4 float32" in message
