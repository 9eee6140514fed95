"""Fork servers of a test's own. A process has one at a time, and what that has imported when it starts all
its children have: the first test to start one would decide how long every later test's workers take."""

import multiprocessing
import multiprocessing.forkserver
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext

from pipelines import workers

workers.PRELOADED += ("bench.training_worker", "bench.loader_worker")
"""With what the benchmarks' workers import: in tests they are forked from the same server."""


@contextmanager
def fork_server_with(*modules: str) -> Iterator[ForkServerContext]:
    """One that has imported these modules, and after it again one that has what loader workers need."""
    context = multiprocessing.get_context("forkserver")
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    context.set_forkserver_preload(list(modules))
    try:
        yield context
    finally:
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
        context.set_forkserver_preload(list(workers.PRELOADED))
