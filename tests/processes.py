"""Waiting for what a process becomes."""

import time
from collections.abc import Callable

import psutil

LIMIT = 120.0
"""Seconds, far more than it takes on a machine that does other things too: it keeps a test from hanging."""


def wait_for(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_gone(*pids: int) -> None:
    """Until they have ended, whether or not anyone has asked how."""
    wait_for(lambda: all(map(_gone, pids)))


def _gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
