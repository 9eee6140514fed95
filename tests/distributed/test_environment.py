"""Whoever started a process says in its environment which rank it is: tables of environments."""

import pytest

from vicreg_fast.distributed.environment import RankEnvironment, first_host, read_environment
from vicreg_fast.errors import UsageError


def env_of(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split())


TORCHRUN = env_of(
    "RANK=5 LOCAL_RANK=1 WORLD_SIZE=8 LOCAL_WORLD_SIZE=4 MASTER_ADDR=head MASTER_PORT=31000 "
    "TORCHELASTIC_RUN_ID=x TORCHELASTIC_RESTART_COUNT=2 TORCHELASTIC_MAX_RESTARTS=3"
)
SBATCH = env_of(
    "SLURM_JOB_ID=123456 SLURM_NTASKS=8 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 "
    "SLURM_TASKS_PER_NODE=4(x2) SLURM_JOB_NODELIST=gpu[003-004]"
)
SRUN = SBATCH | env_of(
    "SLURM_STEP_ID=2 SLURM_PROCID=6 SLURM_LOCALID=2 SLURM_NODEID=1 SLURM_STEP_NUM_TASKS=8 "
    "SLURM_STEP_TASKS_PER_NODE=4(x2) SLURM_STEP_NODELIST=gpu[003-004]"
)
OPEN_MPI = env_of(
    "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_SIZE=2 "
    "MASTER_ADDR=a MASTER_PORT=4000"
)
MPICH = env_of("PMI_RANK=1 PMI_SIZE=2 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2")

AS_TORCHRUN = RankEnvironment(
    rank=5,
    local_rank=1,
    world_size=8,
    local_world_size=4,
    address="head",
    port=31000,
    source="torchrun",
    restarts=2,
    max_restarts=3,
)
AS_SLURM = RankEnvironment(
    rank=6, local_rank=2, world_size=8, local_world_size=4, address="gpu003", port=23458, source="Slurm"
)
AS_OPEN_MPI = RankEnvironment(
    rank=3, local_rank=1, world_size=4, local_world_size=2, address="a", port=4000, source="Open MPI"
)
AS_MPICH = RankEnvironment(
    rank=1, local_rank=1, world_size=2, local_world_size=2, address="127.0.0.1", port=29500, source="MPICH"
)


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, None),
        ({"PATH": "/bin", "RANK": "3"}, None),  # another program's
        (TORCHRUN, AS_TORCHRUN),
        (SBATCH, None),  # a batch script has its job's variables, and is one process
        (SRUN, AS_SLURM),
        (SRUN | TORCHRUN, AS_TORCHRUN),  # an agent in a Slurm step
        (SRUN | OPEN_MPI, AS_OPEN_MPI),  # mpirun starts its daemons as a Slurm step
        (SRUN | MPICH, AS_MPICH),
        (SRUN | env_of("PMI_RANK=6 PMI_SIZE=8"), AS_SLURM),  # srun --mpi=pmi2
        (SRUN | env_of("SLURM_STEP_NUM_TASKS=1"), None),  # srun --pty, say
        (OPEN_MPI, AS_OPEN_MPI),
        (MPICH, AS_MPICH),
        (env_of("PMI_RANK=0 PMI_SIZE=1"), None),
    ],
    ids=[
        "none", "stray", "torchrun", "sbatch", "srun", "torchrun in srun", "mpirun in srun",
        "mpiexec in srun", "srun with PMI", "one task", "Open MPI", "MPICH", "one MPI process",
    ],
)  # fmt: skip
def test_who_started_it(env: dict[str, str], found: RankEnvironment | None) -> None:
    assert read_environment(env) == found


def test_what_slurm_leaves_to_us() -> None:
    assert read_environment(SRUN | env_of("MASTER_ADDR=other MASTER_PORT=7")) == RankEnvironment(
        **(vars(AS_SLURM) | {"address": "other", "port": 7})
    )
    uneven = read_environment(SRUN | env_of("SLURM_STEP_TASKS_PER_NODE=5,3"))
    assert uneven is not None
    assert uneven.local_world_size == 3


@pytest.mark.parametrize(
    ("env", "without", "changes", "words"),
    [
        (TORCHRUN, "LOCAL_RANK", {}, ["LOCAL_RANK: is not set", "torchrun"]),
        (TORCHRUN, "MASTER_PORT", {}, ["MASTER_PORT: is not set"]),
        (TORCHRUN, "", {"RANK": "8"}, ["rank 8 of 8"]),
        (TORCHRUN, "", {"LOCAL_RANK": "4"}, ["local rank 4 of 4"]),
        (TORCHRUN, "", {"LOCAL_WORLD_SIZE": "9"}, ["9 ranks on this machine and 8 in all"]),
        (TORCHRUN, "", {"WORLD_SIZE": "two"}, ["WORLD_SIZE=two: must be a whole number"]),
        (SRUN, "SLURM_LOCALID", {}, ["SLURM_LOCALID: is not set", "srun"]),
        (SRUN, "", {"SLURM_STEP_TASKS_PER_NODE": "4(2x)"}, ["SLURM_STEP_TASKS_PER_NODE=4(2x)"]),
        (SRUN, "", {"SLURM_NODEID": "2"}, ["SLURM_NODEID=2", "no such node"]),
        (OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_RANK", {}, ["OMPI_COMM_WORLD_LOCAL_RANK", "mpirun"]),
        (OPEN_MPI, "MASTER_ADDR", {}, ["MASTER_ADDR: is not set", "several machines"]),
        (MPICH, "MPI_LOCALRANKID", {}, ["MPI_LOCALRANKID: is not set", "mpiexec"]),
    ],
)
def test_refusals_name_the_variable(
    env: dict[str, str], without: str, changes: dict[str, str], words: list[str]
) -> None:
    env = {key: value for key, value in env.items() if key != without} | changes
    with pytest.raises(UsageError) as caught:
        read_environment(env)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("nodelist", "host"),
    [
        ("alone", "alone"),
        ("a1,a2", "a1"),
        ("gpu[003-006,010],login", "gpu003"),
        ("gpu[7]", "gpu7"),
        ("rack[1-2]n[04,6]", "rack1n04"),
        ("r[1-2]-ib0", "r1-ib0"),
        ("node-12,gpu[1-3]", "node-12"),
    ],
)
def test_the_first_host_of_a_node_list(nodelist: str, host: str) -> None:
    assert first_host(nodelist) == host
