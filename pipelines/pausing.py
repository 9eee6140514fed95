"""Loader workers made to wait within a batch, and to go on where they were.

A measurement wants the cores, and a loader that would go on filling its queue as it was. A signal makes the
workers look at a gate, and wait in its handler while that is shut; their threads that watch for the parent's
end go on. A process stopped by SIGSTOP could not see that end, and would be left behind for good; and a
second signal that says "go on" can be lost where others are on their way.
"""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

LOOK = signal.SIGUSR1
SECONDS_BETWEEN_LOOKS = 0.05


def pause_workers() -> bool:
    """Makes every loader worker of this process wait, until `resume_workers`; returns whether there are any.

    One that has not started yet goes on, as does every other process that this one started.
    """
    started = [process.pid for process in multiprocessing.active_children() if process.pid is not None]
    pids = [pid for pid in started if _looks(pid)]
    if pids:
        this_gate().value = 1
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, LOOK)
    return bool(pids)


def resume_workers() -> None:
    this_gate().value = 0


def this_gate() -> Any:
    """A shared byte, not 0 while the loader workers of this process are to wait."""
    return _gate_of(os.getpid())


@lru_cache(maxsize=1)
def _gate_of(_pid: int) -> Any:
    """Of a process, and not of one that it was forked from."""
    return multiprocessing.RawValue("b", 0)


def let_pause(gate: Any) -> None:
    """Makes this process, in its main thread, one that can be paused; `gate` is its parent's."""

    def wait(_signal: int, _frame: FrameType | None) -> None:
        while gate.value:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    signal.signal(LOOK, wait)


def _looks(pid: int) -> bool:
    """Whether it catches the signal, which would end it otherwise."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "SigCgt":
                return bool(int(value, 16) >> (LOOK - 1) & 1)
    return False
