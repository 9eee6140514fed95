"""Where the suite runs: the device, one thread, and the fingerprint that its JSON carries."""

import os

import pytest

# Read once, when torch loads its OpenMP and its profiler; the command line sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")

import torch

from bench.environment import measure_environment
from bench.regression_base import fingerprint
from bench.suite_loss.times import steady_allocator

THREADS = 1


@pytest.fixture(scope="session")
def device() -> torch.device:
    torch.set_num_threads(THREADS)
    steady_allocator()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def where(device: torch.device) -> dict[str, str]:
    """By which two runs are comparable, as `bench loss --against` has it."""
    clock = "wall" if device.type == "cuda" else "cpu"
    return fingerprint(measure_environment(), device=device.type, threads=THREADS, clock=clock)
