"""What a process keeps of the memory that it frees."""

import resource
import subprocess
import sys

import pytest
import torch

from vicreg_fast.training.allocator import keep_obstacle

CPU = torch.device("cpu")
FAULTS = """
import resource
from vicreg_fast.training.allocator import keep_memory
if {keep}:
    keep_memory()
for _ in range(3):
    block = bytearray(2**25)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = None
    block = bytearray(2**25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(keep_obstacle(CPU) is not None, reason="keeping memory needs glibc's malloc")
def test_what_was_freed_is_had_again_without_the_system() -> None:
    def faults(keep: bool) -> int:
        script = FAULTS.format(keep=keep)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(done.stdout)

    pages = 10 * 2**25 // resource.getpagesize()
    assert faults(False) > pages // 20  # in huge pages, where the system gives those
    assert faults(True) < pages // 100


def test_a_gpu_has_an_allocator_of_its_own() -> None:
    assert "is for CPUs" in str(keep_obstacle(torch.device("cuda")))
