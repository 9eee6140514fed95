"""Copies to a GPU that run beside the training step, and for which the host does not wait.

A copy is queued on a stream of its own, so it waits for what makes the batch and not for the steps that are
queued on the current stream. The current stream waits for an event at its end when the batch is handed over,
and `record_stream` keeps torch from giving the memory away while the current stream still reads it.

Every batch is fresh memory from torch's caching allocator, and not a place in a ring. Whoever takes a batch
may then keep it as long as it likes, as a step of several batches and a bench of one cached batch do; a ring
would change their memory under them unless it were as long as the longest of them. What it costs: the memory
of a batch is free again only when the steps that were queued before it was dropped have run, so a host that
is k steps ahead of the device holds k batches more. A logged step, which waits for the device, ends that.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from pipelines.contract import ViewBatch


class InFlight(NamedTuple):
    """A batch whose views are being copied; they may be read after `done`."""

    batch: ViewBatch
    done: torch.cuda.Event


class SideStream:
    """A stream of its own for copies to `device`, which is a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def started(self, copy: Callable[[], ViewBatch]) -> InFlight:
        """Calls `copy`, which queues copies on the current stream, with this stream as the current one."""
        with torch.cuda.stream(self.stream):
            batch = copy()
            done = torch.cuda.Event()
            done.record(self.stream)
        return InFlight(batch, done)

    def handed_over(self, in_flight: InFlight) -> ViewBatch:
        """The batch, for whatever is queued from now on on the current stream of the device."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(in_flight.done)
        batch = in_flight.batch
        for view in (batch.view_1, batch.view_2):
            view.record_stream(current)
        return batch


def copied_ahead(batches: Iterator[Any], side: SideStream) -> Iterator[Any]:
    """The batches with their views on the device of `side`; the copy of each starts before the batch in front
    of it is given, so that it runs during that one's step.

    The views come in pinned memory of torch's own, which torch does not use again before the copy is done.
    What is no ViewBatch, such as a failure in the place of one, is passed through in its turn.
    """

    def next_started() -> Any:
        batch = next(batches)
        if not isinstance(batch, ViewBatch):
            return batch
        return side.started(lambda: _copied(batch, side.device))

    ahead = next_started()
    while True:
        given, ahead = ahead, next_started()
        yield side.handed_over(given) if isinstance(given, InFlight) else given


def _copied(batch: ViewBatch, device: torch.device) -> ViewBatch:
    view_1, view_2 = (view.to(device, non_blocking=True) for view in (batch.view_1, batch.view_2))
    return ViewBatch(view_1, view_2, batch.label)


__all__ = ["InFlight", "SideStream", "copied_ahead"]
