"""How loader processes start and end."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any

from pipelines.pausing import let_pause, this_gate
from vicreg_fast.errors import DataError

WORKER_ENDED = (RuntimeError, ConnectionError, EOFError)
"""What a DataLoader raises when a worker was killed: the latter two where it was handing over a batch."""


START_METHOD = "forkserver"
"""How they start. A process with one thread may have them forked, which takes no import of torch."""
PRELOADED = ("pipelines.torchvision_views", "pipelines.eval_images")
"""What their fork server has imported."""


def worker_context(workers: int) -> BaseContext | None:
    """The way a DataLoader's `workers` processes start; None for none.

    They come from a fork server that has imported what they need. A fork of the training process itself would
    copy locks that DALI's, CUDA's or OpenMP's threads hold at that moment, and wait for them without end.
    """
    if workers == 0:
        return None
    context = multiprocessing.get_context(START_METHOD)
    if START_METHOD != "forkserver":
        return context
    context.set_forkserver_preload(list(PRELOADED))
    return context


def worker_ended(error: BaseException) -> DataError:
    """What to raise from one of WORKER_ENDED."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(
        f"a loader worker ended ({first[:100]}); it may have run out of memory: "
        "set fewer workers (--set workers=N)"
    )


def worker_start() -> Callable[[int], None]:
    """What a DataLoader is to call at the start of each worker."""
    return partial(_prepare, this_gate())


def _prepare(gate: Any, _number: int) -> None:
    """Ctrl-C, and a SIGTERM from a scheduler, reach the whole process group, and the parent alone decides
    what they mean: it may go on for a step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_pause(gate)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in the threads to come, too
    threading.Thread(target=_end_when_the_parent_says, daemon=True).start()
    end_with_parent()


def _end_when_the_parent_says() -> None:
    """By SIGTERM, as a DataLoader ends a worker that does not end by itself."""
    parent = multiprocessing.parent_process()
    while parent is not None:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent.pid:
            os._exit(1)


def end_with_parent() -> None:
    """This process, started by multiprocessing, ends when its parent does, even by SIGKILL.

    A DataLoader's worker watches for its system parent, which is the fork server and not the training
    process. And the fork server lives for as long as its workers do, so a killed training process would leave
    them all behind.
    """
    threading.Thread(target=_wait_for_parents_end, daemon=True).start()


def _wait_for_parents_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
