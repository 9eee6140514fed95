"""What ranks may not do is said on every rank, and leaves them in step; a dead or silent one does not hang
the others for ever.
"""

import os
import signal
import time
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


def left_alone(seconds: float) -> float | None:
    """How long rank 0 waits for a rank that never comes, in a group that waits for `seconds`."""
    group = dist.new_group([0, 1], timeout=timedelta(seconds=seconds))
    x = torch.ones(3, 4)
    found = None
    if dist.get_rank() == 0:
        begin = time.monotonic()
        with pytest.raises(RuntimeError, match="Timed out"):
            vicreg_loss(x, x, group=group)
        found = time.monotonic() - begin
    dist.barrier()
    return found


def bereaved() -> float:
    """How long rank 0 waits for rank 1, which is killed between two steps."""
    x = torch.ones(3, 4)
    vicreg_loss(x, x)
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="by peer"):
        vicreg_loss(x, x)
    return time.monotonic() - begin


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
    waited, _ = pair.run(left_alone, 1.0)
    assert 0.9 < waited < 10


def test_a_killed_rank_ends_the_others_at_once(doomed: World) -> None:
    waited, killed = doomed.run(bereaved)
    assert killed == DEAD
    assert waited < 5
