"""How loader processes start and end."""

import multiprocessing
import signal
from multiprocessing.context import BaseContext


def worker_context(workers: int) -> BaseContext | None:
    """The way a DataLoader's `workers` processes start; None for none.

    They come from a fork server that has imported what they need. A fork of the training process itself would
    copy locks that DALI's, CUDA's or OpenMP's threads hold at that moment, and wait for them without end.
    """
    if workers == 0:
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.torchvision_views", "pipelines.eval_images"])
    return context


def ignore_interrupts(_: int) -> None:
    """For a worker's start. Ctrl-C reaches the whole process group; the parent alone decides what it
    means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
