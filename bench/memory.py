"""Memory of a process and its workers, on the host and on the device, sampled while it works."""

import os
import threading
from contextlib import suppress
from types import TracebackType

import psutil
import pynvml

from bench.idle import LOOKING_ON

SECONDS_BETWEEN_SAMPLES = 0.1


def host_bytes() -> int:
    """Proportional resident bytes of this process and its children: shared pages count once over all that
    share them."""
    total = 0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += int(process.memory_full_info().pss)
    return total


def device_process_bytes() -> int | None:
    """Bytes NVML counts for this process over its GPUs, what torch's allocator does not see (DALI's)
    included.

    None where there is no driver, or where the driver does not say by process (in some containers).
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        pids = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        used = [
            process.usedGpuMemory
            for index in range(pynvml.nvmlDeviceGetCount())
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(
                pynvml.nvmlDeviceGetHandleByIndex(index)
            )
            if process.pid in pids and process.usedGpuMemory is not None
        ]
        return int(sum(used)) if used else None
    except pynvml.NVMLError:
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


class PeakMemory:
    """A context in which a thread samples the process tree. Not for a timed region: reading the tree takes a
    while."""

    def __init__(self, *, with_device: bool) -> None:
        self.host_bytes = 0
        self.device_process_bytes: int | None = None
        self._with_device = with_device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="peak-memory")

    def _sample(self) -> None:
        self.host_bytes = max(self.host_bytes, host_bytes())
        if self._with_device:
            used = device_process_bytes()
            if used is not None:
                self.device_process_bytes = max(self.device_process_bytes or 0, used)

    def _run(self) -> None:
        LOOKING_ON.add(threading.get_native_id())
        while not self._ended.wait(SECONDS_BETWEEN_SAMPLES):
            self._sample()
        LOOKING_ON.discard(threading.get_native_id())

    def __enter__(self) -> "PeakMemory":
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()
