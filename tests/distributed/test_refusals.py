"""What ranks may not do is said on every rank, and leaves them in step; a dead or silent one does not hang
the others for ever.
"""

import os
import signal
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from tests.distributed.worlds import DEAD, World
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import vicreg_loss

Shape = tuple[int, int, str]


def refused(shapes: list[Shape], form: str) -> tuple[str, float]:
    """On a rank: what is said to the shape that is this rank's, and then the loss of an even batch."""
    n, D, dtype = shapes[dist.get_rank()]
    x = torch.ones(n, D, dtype=getattr(torch, dtype))
    with pytest.raises(UsageError) as caught:
        vicreg_loss(x, x, form=form)
    even = torch.eye(3)
    return str(caught.value), vicreg_loss(even, even).item()


def with_no_rows_at_all() -> str:
    x = torch.ones(0, 4)
    with pytest.raises(ValueError, match="at least two rows") as caught:
        vicreg_loss(x, x)
    return str(caught.value)


def left_alone(seconds: float) -> str | None:
    """What ends rank 0's wait for a rank that never comes, in a group that waits for `seconds`."""
    group = dist.new_group([0, 1], timeout=timedelta(seconds=seconds))
    x = torch.ones(3, 4)
    found = None
    if dist.get_rank() == 0:
        with pytest.raises(RuntimeError, match="Timed out") as caught:
            vicreg_loss(x, x, group=group)
        found = str(caught.value)
    dist.barrier()
    return found


def bereaved() -> str:
    """What ends rank 0's wait for rank 1, which is killed between two steps."""
    x = torch.ones(3, 4)
    vicreg_loss(x, x)
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="by peer") as caught:
        vicreg_loss(x, x)
    return str(caught.value)


@pytest.mark.parametrize("form", ["gram", "covariance"])
@pytest.mark.parametrize(
    ("first", "others", "mend"),
    [
        ((4, 5, "float32"), (3, 5, "float32"), "drop the last, shorter batch"),
        ((0, 5, "float32"), (3, 5, "float32"), "drop the last, shorter batch"),
        ((4, 5, "float64"), (4, 6, "float64"), "the same network and precision"),
        # as many bytes, and as many numbers
        ((4, 5, "bfloat16"), (4, 5, "float16"), "the same network and precision"),
        ((4, 5, "float32"), (5, 4, "float32"), "drop the last, shorter batch"),
    ],
    ids=["rows", "no rows", "dimensions", "dtype", "turned"],
)
def test_embeddings_that_differ(first: Shape, others: Shape, mend: str, form: str, world: World) -> None:
    shapes = [first, *[others] * (world.size - 1)]
    messages, losses = zip(*world.run(refused, shapes, form), strict=True)
    assert len(set(messages)) == 1
    held = ", ".join(f"rank {rank}: {n}×{D} {dtype}" for rank, (n, D, dtype) in enumerate(shapes))
    assert f"embeddings differ between ranks ({held}): " in messages[0]
    assert mend in messages[0]
    assert len(set(losses)) == 1  # and the ranks are in step


def test_a_batch_without_rows(pair: World) -> None:
    assert len(set(pair.run(with_no_rows_at_all))) == 1


def test_a_silent_rank_is_waited_for_as_long_as_its_group_says(pair: World) -> None:
    said, _ = pair.run(left_alone, 1.0)
    assert "Timed out waiting 1000ms" in said


def test_a_killed_rank_ends_the_others_at_once(doomed: World) -> None:
    """By its end, and not by a limit on how long they wait."""
    said, killed = doomed.run(bereaved)
    assert killed == DEAD
    assert "Timed out" not in said
