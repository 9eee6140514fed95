"""Where the loss's suites run: each device with each backend that takes it. A path that cannot run here is
skipped by name: CUDA's without a CUDA device, and the interpreter's where Triton compiles.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
if not HAS_CUDA:  # tests/conftest.py has Triton interpret
    from tests.distributed.rounding import round_to_nearest

    round_to_nearest()


@dataclass(frozen=True)
class LossPath:
    device: str
    backend: str

    def __str__(self) -> str:
        return f"{self.device}-{self.backend}"

    def parameter(self) -> Any:
        marks: list[Any] = []
        if self.device == "cuda":
            marks = [pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")]
        elif self.backend == "triton":
            interpreted = os.environ.get("TRITON_INTERPRET") == "1"
            marks = [pytest.mark.skipif(not interpreted, reason="needs TRITON_INTERPRET=1")]
        return pytest.param(self, id=str(self), marks=marks)


TORCH_PATHS = [LossPath(device, "torch").parameter() for device in ("cpu", "cuda")]
TRITON_PATHS = [LossPath(device, "triton").parameter() for device in ("cpu", "cuda")]
PATHS = TORCH_PATHS + TRITON_PATHS


@pytest.fixture(scope="module", autouse=True, params=TORCH_PATHS)
def each_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a module that imports it: all its tests on each device, which is where new tensors are made."""
    if request.param.device == "cpu":
        yield
        return
    torch.set_default_device(request.param.device)
    yield
    torch.set_default_device(None)


__all__ = ["PATHS", "TORCH_PATHS", "TRITON_PATHS", "LossPath", "each_device"]
