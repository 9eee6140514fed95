"""Joining the ranks of a run, and leaving them.

Tensors on a GPU are exchanged by NCCL and those on a CPU, the small messages among them, by gloo, in one
default process group.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from vicreg_fast.distributed.environment import RankEnvironment
from vicreg_fast.distributed.ranks import SINGLE, Ranks, ranks_of
from vicreg_fast.errors import RankError, UsageError

TIMEOUT = timedelta(minutes=30)
"""A rank that is silent for so long is lost. The first rank of a machine may check a million images before
the others hear of it."""


@contextmanager
def joined_ranks(
    environment: RankEnvironment | None, device: torch.device, *, timeout: timedelta = TIMEOUT
) -> Iterator[tuple[Ranks, torch.device]]:
    """This process's ranks and its own device, of `device`'s type; SINGLE and `device` for one process.

    Raises UsageError when there is no GPU for this rank, and RankError when the ranks do not find each other
    within `timeout`, or one ends while another waits for it.
    """
    if environment is None:
        yield SINGLE, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", _gpu_index(environment))
        torch.cuda.set_device(device)
    if environment.world_size == 1:
        yield SINGLE, device
        return
    _join(environment, device, timeout)
    try:
        yield ranks_of(), device
    except RuntimeError as error:
        # The group is left as it is: NCCL would first wait for what the lost rank will never send.
        if not _is_of_an_exchange(error):
            raise
        raise RankError(
            f"rank {environment.rank}: another rank ended or is silent ({_first_line(error)}); "
            "its own output says why"
        ) from error
    else:
        dist.destroy_process_group()


@contextmanager
def first_on_each_machine(environment: RankEnvironment | None, ranks: Ranks) -> Iterator[None]:
    """Local rank 0 runs the block before the others of its machine, which then find what it left on the
    disk."""
    waits = environment is not None and ranks.group is not None
    if waits and environment is not None and environment.local_rank != 0:
        _meet(ranks)
    yield
    if waits and environment is not None and environment.local_rank == 0:
        _meet(ranks)


def _meet(ranks: Ranks) -> None:
    """A barrier on the host: dist.barrier would go over a GPU where there is one."""
    dist.all_reduce(torch.zeros(1), group=ranks.group)


def _join(environment: RankEnvironment, device: torch.device, timeout: timedelta) -> None:
    where = f"{environment.address}:{environment.port}"
    # What torchrun sets may name a store that its agent keeps, and only env:// asks there.
    meeting_place = "env://" if environment.source == "torchrun" else f"tcp://{where}"
    try:
        store, *_ = next(
            dist.rendezvous(meeting_place, environment.rank, environment.world_size, timeout=timeout)
        )
        if environment.local_world_size == environment.world_size:
            # The agent's store still has the addresses of the ranks before a restart. Agents of several nodes
            # may count restarts differently; docs/CLUSTERS.md says what to set there.
            store = dist.PrefixStore(f"start-{environment.restarts}", store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=environment.rank,
            world_size=environment.world_size,
            timeout=timeout,
        )
    except RuntimeError as error:
        if not _is_of_an_exchange(error):
            raise
        mend = "set MASTER_PORT to a free port" if "EADDRINUSE" in str(error) else "see that all ranks start"
        raise RankError(
            f"rank {environment.rank} cannot join {environment.world_size} ranks at {where} "
            f"({_first_line(error)}); {mend}"
        ) from error


def _gpu_index(environment: RankEnvironment) -> int:
    """Slurm and MPI may show each rank only its own GPU, which then is its first."""
    there = torch.cuda.device_count()
    if there == 1 and environment.source != "torchrun":
        return 0
    if environment.local_rank >= there:
        raise UsageError(
            f"{environment.source} starts {environment.local_world_size} ranks on a machine where this one "
            f"sees {there} GPU{'s' * (there != 1)}; start one rank a GPU"
        )
    return environment.local_rank


def _is_of_an_exchange(error: RuntimeError) -> bool:
    """gloo raises plain RuntimeErrors, which name its source files."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 160 else f"{line[:157]}..."


__all__ = ["TIMEOUT", "first_on_each_machine", "joined_ranks"]
