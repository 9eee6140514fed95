"""Which rank a process is, as whoever started it says in its environment: torchrun, mpirun or srun.

Pure functions of a mapping; nothing here imports torch. Where several have left their variables the innermost
counts: torchrun's agent runs inside a Slurm step, and so does the daemon with which mpirun starts its ranks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vicreg_fast.errors import UsageError

DEFAULT_PORT = 29500
"""torch's own, taken where nobody names one."""

Source = Literal["torchrun", "Open MPI", "MPICH", "Slurm"]


@dataclass(frozen=True, kw_only=True)
class RankEnvironment:
    """One process among `world_size` that meet at `address`:`port`, of which `local_world_size` are on its
    machine."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    address: str
    port: int
    source: Source
    restarts: int = 0
    """How often the agent has started this run again."""
    max_restarts: int = 0


def read_environment(env: Mapping[str, str]) -> RankEnvironment | None:
    """The rank that `env` says this process is, or None for a process by itself.

    Raises UsageError, naming the variable and the mend, when variables are missing or contradict each other.
    """
    if "TORCHELASTIC_RUN_ID" in env or ("RANK" in env and "WORLD_SIZE" in env):
        return _checked(_torchrun(env))
    if "OMPI_COMM_WORLD_RANK" in env:
        return _checked(_mpi(env, "Open MPI", _OPEN_MPI))
    if "PMI_RANK" in env and ("MPI_LOCALRANKID" in env or not _in_slurm_step(env)):
        if _number(env, "PMI_SIZE", "MPICH") == 1 and "MPI_LOCALRANKID" not in env:
            return None
        return _checked(_mpi(env, "MPICH", _MPICH))
    if _in_slurm_step(env) and _slurm_tasks(env) > 1:
        return _checked(_slurm(env))
    return None


_MENDS: dict[Source, str] = {
    "torchrun": "start the ranks with torchrun, or unset RANK and WORLD_SIZE",
    "Open MPI": "start the ranks with mpirun, or unset the OMPI_COMM_WORLD_ variables",
    "MPICH": "start the ranks with mpiexec of MPICH or Intel MPI, or unset PMI_RANK",
    "Slurm": "start the ranks with srun, or unset SLURM_STEP_ID",
}
_OPEN_MPI = tuple(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "LOCAL_RANK", "SIZE", "LOCAL_SIZE"))
_MPICH = ("PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE", "MPI_LOCALNRANKS")


def _torchrun(env: Mapping[str, str]) -> RankEnvironment:
    world_size = _number(env, "WORLD_SIZE", "torchrun")
    return RankEnvironment(
        rank=_number(env, "RANK", "torchrun"),
        local_rank=_number(env, "LOCAL_RANK", "torchrun"),
        world_size=world_size,
        local_world_size=_number(env, "LOCAL_WORLD_SIZE", "torchrun", default=world_size),
        address=_word(env, "MASTER_ADDR", "torchrun"),
        port=_number(env, "MASTER_PORT", "torchrun"),
        source="torchrun",
        restarts=_number(env, "TORCHELASTIC_RESTART_COUNT", "torchrun", default=0),
        max_restarts=_number(env, "TORCHELASTIC_MAX_RESTARTS", "torchrun", default=0),
    )


def _mpi(env: Mapping[str, str], source: Source, names: tuple[str, ...]) -> RankEnvironment:
    rank, local_rank, world_size, local_world_size = (_number(env, name, source) for name in names)
    address = env.get("MASTER_ADDR", "127.0.0.1")
    if local_world_size < world_size and "MASTER_ADDR" not in env:
        raise UsageError(
            f"MASTER_ADDR: is not set, and {source}'s ranks are on several machines; "
            "give every rank the first machine's name in it"
        )
    return RankEnvironment(
        rank=rank,
        local_rank=local_rank,
        world_size=world_size,
        local_world_size=local_world_size,
        address=address,
        port=_number(env, "MASTER_PORT", source, default=DEFAULT_PORT),
        source=source,
    )


def _in_slurm_step(env: Mapping[str, str]) -> bool:
    """A batch script has the job's variables too, and is one process."""
    return "SLURM_STEP_ID" in env and "SLURM_PROCID" in env


def _slurm_tasks(env: Mapping[str, str]) -> int:
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    return _number(env, name, "Slurm")


def _slurm(env: Mapping[str, str]) -> RankEnvironment:
    nodes = "SLURM_STEP_NODELIST" if "SLURM_STEP_NODELIST" in env else "SLURM_JOB_NODELIST"
    job = _number(env, "SLURM_JOB_ID", "Slurm")
    step = _number(env, "SLURM_STEP_ID", "Slurm")
    return RankEnvironment(
        rank=_number(env, "SLURM_PROCID", "Slurm"),
        local_rank=_number(env, "SLURM_LOCALID", "Slurm"),
        world_size=_slurm_tasks(env),
        local_world_size=_slurm_tasks_here(env),
        address=env.get("MASTER_ADDR") or first_host(_word(env, nodes, "Slurm")),
        # Below the ports that systems hand out by themselves, and alike on every rank of a step.
        port=_number(env, "MASTER_PORT", "Slurm", default=20000 + (job + step) % 10000),
        source="Slurm",
    )


def _slurm_tasks_here(env: Mapping[str, str]) -> int:
    """From tasks a node in Slurm's short form: `4(x2),3` are 4, 4 and 3."""
    name = "SLURM_STEP_TASKS_PER_NODE" if "SLURM_STEP_TASKS_PER_NODE" in env else "SLURM_TASKS_PER_NODE"
    text, node = _word(env, name, "Slurm"), _number(env, "SLURM_NODEID", "Slurm")
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            raise UsageError(f"{name}={text}: cannot be read; {_MENDS['Slurm']}")
        counts += [int(found[1])] * int(found[2] or 1)
    if node >= len(counts):
        raise UsageError(f"SLURM_NODEID={node}: {name}={text} has no such node; {_MENDS['Slurm']}")
    return counts[node]


def first_host(nodelist: str) -> str:
    """The first host of a Slurm node list: `gpu[003-006,010],login` → `gpu003`."""
    found = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodelist)
    if found is None:
        raise UsageError(f"SLURM_JOB_NODELIST={nodelist}: names no host; {_MENDS['Slurm']}")
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", found[0])


def _word(env: Mapping[str, str], name: str, source: Source) -> str:
    if not env.get(name):
        raise UsageError(f"{name}: is not set, and other variables of {source} are; {_MENDS[source]}")
    return env[name]


def _number(env: Mapping[str, str], name: str, source: Source, default: int | None = None) -> int:
    if default is not None and not env.get(name):
        return default
    text = _word(env, name, source)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text}: must be a whole number; {_MENDS[source]}")
    return int(text)


def _checked(found: RankEnvironment) -> RankEnvironment:
    for what, value, limit in (
        ("rank", found.rank, found.world_size),
        ("local rank", found.local_rank, found.local_world_size),
    ):
        if value >= limit:
            raise UsageError(
                f"{found.source} says {what} {value} of {limit}: ranks count from 0; {_MENDS[found.source]}"
            )
    if not 0 < found.local_world_size <= found.world_size:
        raise UsageError(
            f"{found.source} says {found.local_world_size} ranks on this machine and {found.world_size} "
            f"in all; {_MENDS[found.source]}"
        )
    return found


__all__ = ["RankEnvironment", "first_host", "read_environment"]
