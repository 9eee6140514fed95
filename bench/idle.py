"""Waiting until a process and its workers have nothing left to do, so that the next to be measured has the
cores to itself."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

SECONDS_BETWEEN_LOOKS = 0.02
LOOKS = 5
"""So many in a row have to find nothing: work that changes hands sleeps for a moment."""
MOST_SECONDS = 30.0
LOOKING_ON: set[int] = set()
"""Native ids of this process's threads that only look at it, and are no work."""


def wait_until_idle(most_seconds: float = MOST_SECONDS) -> bool:
    """Returns True when no thread of this process or its children but the calling one and those that look on
    runs, wants to run, or waits for a disk; False when that was not so for long enough within
    `most_seconds`.

    The state of a thread, not the time it got: on a busy machine a loader at work gets little.
    """
    deadline = time.monotonic() + most_seconds
    quiet = 0
    while quiet < LOOKS:
        if time.monotonic() > deadline:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
        quiet = 0 if _any_at_work() else quiet + 1
    return True


def _any_at_work() -> bool:
    this = psutil.Process()
    pids = [this.pid, *(child.pid for child in this.children(recursive=True))]
    besides = {str(thread) for thread in (threading.get_native_id(), *LOOKING_ON)}
    return any(_at_work(pid, besides=besides) for pid in pids)


def _at_work(pid: int, *, besides: set[str]) -> bool:
    return any(
        thread.name not in besides and _state(thread) in ("R", "D")
        for thread in Path(f"/proc/{pid}/task").glob("*")
    )


def _state(thread: Path) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        # The name before it, in brackets, may hold anything.
        return (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    return ""
