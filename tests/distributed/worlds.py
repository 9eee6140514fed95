"""Worlds of real processes over gloo, each told by the test what to do.

One process is started afresh, imports torch, and forks every rank: importing torch takes seconds, and there
are a dozen ranks. A rank sleeps until `World.run` sends it a function.
"""

import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import pytest

LIMIT = 120.0
"""Seconds that a call may take on all ranks together, on a machine that does other things too."""

DEAD = "dead"
"""The answer of a rank that ended."""


class World:
    """`size` ranks of one default process group."""

    def __init__(self, connections: list[Connection]) -> None:
        self.size = len(connections)
        self._connections = connections
        self._broken: str | None = None

    def run(self, check: Callable[..., Any], *args: Any) -> list[Any]:
        """What `check(*args)` returns on each rank, DEAD for one that ended. Fails the test when it raises on
        any. `check` is a function of a module; arguments and results are picklable, and no tensors.

        Assertions about numbers belong to the caller: a world where a rank raised or died is of no use to the
        tests after it, and fails them.
        """
        if self._broken is not None:
            pytest.fail(f"this world is broken: {self._broken}", pytrace=False)
        for connection in self._connections:
            connection.send((check, args))
        deadline = time.monotonic() + LIMIT
        results, failures = [], []
        for rank, connection in enumerate(self._connections):
            if not connection.poll(max(0.0, deadline - time.monotonic())):
                self._broken = f"rank {rank} did not answer {check.__name__} within {LIMIT:g} s"
                pytest.fail(self._broken, pytrace=False)
            try:
                result, failure = connection.recv()
            except EOFError:
                result, failure = DEAD, None
                self._broken = f"rank {rank} died in {check.__name__}"
            results.append(result)
            if failure is not None:
                failures.append(f"on rank {rank}: {failure}")
        if failures:
            self._broken = f"{check.__name__} raised, and the ranks may be out of step"
            pytest.fail("\n".join(failures), pytrace=False)
        return results


@contextmanager
def worlds(sizes: Mapping[str, int], folder: Path) -> Iterator[dict[str, World]]:
    """A world of each size, by name; `folder` is an empty one, where ranks of a world find each other."""
    context = multiprocessing.get_context("spawn")
    pipes = {name: [context.Pipe() for _ in range(size)] for name, size in sizes.items()}
    theirs = {name: [end for _, end in ends] for name, ends in pipes.items()}
    nursery = context.Process(target=_fork_all, args=(theirs, folder), daemon=False)
    nursery.start()
    for ends in theirs.values():
        for end in ends:
            end.close()
    ours = {name: [end for end, _ in ends] for name, ends in pipes.items()}
    try:
        yield {name: World(ends) for name, ends in ours.items()}
    finally:
        for ends in ours.values():
            for end in ends:
                end.close()  # a rank ends when there is nobody left to answer
        nursery.join(timeout=10)
        if nursery.is_alive():
            nursery.terminate()
            nursery.join()


def _fork_all(ends: dict[str, list[Connection]], folder: Path) -> NoReturn:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    import torch._dynamo  # what DistributedDataParallel would import, on every rank

    import vicreg_fast.loss.fused
    import vicreg_fast.training.step  # noqa: F401
    from tests.distributed.rounding import round_to_nearest

    round_to_nearest()
    torch.set_num_threads(1)
    every = [end for world in ends.values() for end in world]
    children = []
    for name, world in ends.items():
        for rank, end in enumerate(world):
            child = os.fork()
            if child == 0:
                for other in every:
                    if other is not end:
                        other.close()
                _serve(end, rank, len(world), folder / name)
            children.append(child)
    for end in every:
        end.close()
    for child in children:
        os.waitpid(child, 0)
    os._exit(0)  # there is nothing to tidy up, and torch would take a second for it


def _serve(end: Connection, rank: int, size: int, rendezvous: Path) -> NoReturn:
    import torch.distributed as dist

    warnings.simplefilter("error")
    dist.init_process_group(
        "gloo",
        init_method=rendezvous.as_uri(),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=LIMIT / 2),
    )
    while True:
        try:
            check, args = end.recv()
        except EOFError:
            os._exit(0)
        try:
            end.send((check(*args), None))
        except BaseException:  # pytest's failures are no Exception
            end.send((None, traceback.format_exc()))
