"""Idle is what neither a thread nor a process of ours works in."""

import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from bench import idle
from bench.idle import LOOKS, wait_until_idle
from tests.clock import Clock

BUSY = "import sys\nsys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(idle, "time", found)
    return found


def test_one_look_is_not_enough(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = iter([True, *[False] * (LOOKS - 1), True, *[False] * LOOKS])
    monkeypatch.setattr(idle, "_any_at_work", lambda: next(at_work))
    assert wait_until_idle()
    assert list(at_work) == [], "it ended at the first look that was enough"


def test_what_never_rests_is_not_waited_for_without_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(idle, "_any_at_work", lambda: looks.append(clock.now) or len(looks) % LOOKS != 0)
    assert not wait_until_idle(most_seconds=3.0)
    assert looks[-1] == pytest.approx(3.0, abs=2 * idle.SECONDS_BETWEEN_LOOKS)


def test_a_process_of_ours_that_works_is_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)
            assert not wait_until_idle(most_seconds=0.5)
            psutil.Process(child.pid).suspend()
            assert wait_until_idle(most_seconds=120)
        finally:
            child.kill()


def test_a_thread_that_looks_on_is_no_work(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one that runs, by the states that are read."""
    ended, looking_on = threading.Event(), set[int]()
    thread = threading.Thread(target=ended.wait)
    thread.start()

    def state(task: Path) -> str:
        return "R" if task.name == str(thread.native_id) else "S"

    monkeypatch.setattr(idle, "LOOKING_ON", looking_on)
    monkeypatch.setattr(idle, "_state", state)
    try:
        assert not wait_until_idle()
        assert thread.native_id is not None
        looking_on.add(thread.native_id)
        assert wait_until_idle()
    finally:
        ended.set()
        thread.join()
