"""Who shares a batch: all ranks, the members of a group, or nobody."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.distributed.worlds import World
from vicreg_fast.distributed import SINGLE, ranks_of
from vicreg_fast.loss import VICRegLoss, vicreg_loss

ROWS, DIMENSIONS = 5, 9


def _views(rank: int) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(
        2, ROWS, DIMENSIONS, generator=torch.Generator().manual_seed(rank), dtype=torch.float64
    )
    return x.requires_grad_(), y.requires_grad_()


def _batch(members: list[int]) -> tuple[Tensor, Tensor]:
    x, y = zip(*map(_views, members), strict=True)
    return torch.cat(x).detach().requires_grad_(), torch.cat(y).detach().requires_grad_()


def in_two_groups(split: int) -> tuple[float, float, Any]:
    """On a rank: the loss as function and as module of this rank's group, of those below `split` and those
    from there on, and the gradient of the first view.
    """
    rank, W = dist.get_rank(), dist.get_world_size()
    below, above = dist.new_group(list(range(split))), dist.new_group(list(range(split, W)))
    group = below if rank < split else above
    assert isinstance(group, dist.ProcessGroup)
    x, y = _views(rank)
    loss = VICRegLoss(group=group)(x, y)
    loss.backward()
    assert x.grad is not None
    return vicreg_loss(x, y, group=group).item(), loss.item(), x.grad.numpy() / dist.get_world_size(group)


def alone() -> list[float]:
    x, y = _views(dist.get_rank())
    losses = [vicreg_loss(x, y, distributed=False), VICRegLoss(distributed=False)(x, y)]
    return [loss.item() for loss in losses]


def outside() -> str | None:
    group = dist.new_group([0])
    if dist.get_rank() == 0:
        assert ranks_of(group) == SINGLE  # one member shares with nobody
        return None
    with pytest.raises(ValueError, match="not a member") as caught:
        vicreg_loss(*_views(0), group=group)
    return str(caught.value)


@pytest.mark.parametrize("split", [1, 2])
def test_a_group_is_a_world_of_its_own(split: int, all_worlds: dict[str, World]) -> None:
    found = all_worlds["4"].run(in_two_groups, split)
    for members in (list(range(split)), list(range(split, 4))):
        x, y = _batch(members)
        wanted = vicreg_loss(x, y)
        wanted.backward()
        assert x.grad is not None
        for place, member in enumerate(members):
            by_function, by_module, gradient = found[member]
            assert by_function == by_module == pytest.approx(wanted.item(), rel=1e-12)
            rows = slice(place * ROWS, (place + 1) * ROWS)
            torch.testing.assert_close(torch.from_numpy(gradient), x.grad[rows], rtol=1e-12, atol=1e-14)


def test_distributed_false_keeps_to_the_process(world: World) -> None:
    for rank, (by_function, by_module) in enumerate(world.run(alone)):
        assert by_function == by_module == vicreg_loss(*_views(rank)).item()


def test_a_group_is_refused_to_those_outside_it(pair: World) -> None:
    assert pair.run(outside) == [None, "this process is not a member of the given process group"]
