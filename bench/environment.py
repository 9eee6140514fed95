"""Where a measurement was made: the fingerprint every record file begins with, and what `doctor` shows.

Everything here is read without importing torch, so that `doctor` answers at once and works where torch does
not.
"""

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import pynvml

from bench.record import Environment

PACKAGES = (
    "vicreg-fast",
    "torch",
    "torchvision",
    "triton",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
    "nvidia-nccl-cu13",
    "nvidia-nccl-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-cu12",
    "numpy",
    "pillow",
    "lightly",
)
SPEED_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "KMP_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "VICREG_FAST_NO_BF16",
)


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """What the driver says; `problem` says why there is none."""

    names: tuple[str, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA the driver runs, such as 13.0."""
    problem: str | None = None


def find_gpus() -> Gpus:
    """The machine's NVIDIA GPUs, through NVML."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus(problem=f"no NVIDIA driver answers ({error})")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        version = pynvml.nvmlSystemGetCudaDriverVersion()
        return Gpus(
            names=tuple(_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles),
            memory_bytes=tuple(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles),
            driver=_text(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{version // 1000}.{version % 1000 // 10}",
            problem=None if handles else "the driver answers, but there is no GPU",
        )
    except pynvml.NVMLError as error:
        return Gpus(problem=f"the NVIDIA driver does not answer whole ({error})")
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def installed_versions() -> dict[str, str]:
    """Version of each of PACKAGES that is installed, and of Python."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def measure_environment() -> Environment:
    """The record of this machine, now."""
    gpus = find_gpus()
    commit, dirty = _commit()
    return Environment(
        processor=processor_name(),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        gpu=gpus.names[0] if gpus.names else None,
        gpu_count=len(gpus.names),
        gpu_memory_bytes=gpus.memory_bytes[0] if gpus.memory_bytes else None,
        driver=gpus.driver,
        cuda=gpus.cuda,
        versions=installed_versions(),
        commit=commit,
        uncommitted_changes=dirty,
        environment_variables={name: os.environ[name] for name in SPEED_VARIABLES if name in os.environ},
        load_average=os.getloadavg()[0],
    )


def _commit() -> tuple[str | None, bool | None]:
    """The checkout this very file lies in: an installed copy has none."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    return commit, None if status is None else bool(status)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
