"""Loader workers made to wait within a batch, and to go on where they were.

A measurement wants the cores, and a loader that would go on filling its queue as it was. The workers wait in
the handler of a signal, while their threads that watch for the parent's end go on: a process stopped by
SIGSTOP could not see that end, and would be left behind for good.
"""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PAUSE, RESUME = signal.SIGUSR1, signal.SIGUSR2


@dataclass(frozen=True)
class PausedWorkers:
    pids: Sequence[int]

    def resume(self) -> None:
        """To be called once."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, RESUME)


def pause_workers() -> PausedWorkers | None:
    """Makes every loader worker of this process wait, until its `resume`; None where there are none.

    One that has not started yet goes on, as does every other process that this one started.
    """
    started = [process.pid for process in multiprocessing.active_children() if process.pid is not None]
    pids = [pid for pid in started if _can_pause(pid)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, PAUSE)
    return PausedWorkers(pids) if pids else None


def let_pause() -> None:
    """Makes this process one that can be paused. Called in its main thread, before it starts others."""
    # Blocked, it stays pending until it is waited for, should it come before.
    signal.pthread_sigmask(signal.SIG_BLOCK, {RESUME})
    signal.signal(PAUSE, _wait)


def _wait(_signal: int, _frame: FrameType | None) -> None:
    signal.sigwait({RESUME})


def _can_pause(pid: int) -> bool:
    """Whether it catches PAUSE, which would end it otherwise."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "SigCgt":
                return bool(int(value, 16) >> (PAUSE - 1) & 1)
    return False
