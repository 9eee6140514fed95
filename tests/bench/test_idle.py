"""Idle is what neither a thread nor a process of ours works in."""

import subprocess
import sys
import threading
import time

import psutil

from bench.idle import LOOKING_ON, wait_until_idle

BUSY = "import sys\nsys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"


def test_a_process_of_ours_that_works_is_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)
            assert not wait_until_idle(most_seconds=0.5)
            psutil.Process(child.pid).suspend()
            began = time.monotonic()
            assert wait_until_idle(most_seconds=60)
            assert time.monotonic() - began > 0.09, "one look is not enough"
        finally:
            child.kill()


def test_a_thread_that_looks_on_is_no_work() -> None:
    def spin() -> None:
        LOOKING_ON.add(threading.get_native_id())
        started.set()
        while not ended:
            pass

    ended: list[bool] = []
    started = threading.Event()
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        started.wait()
        assert wait_until_idle(most_seconds=30)
        LOOKING_ON.clear()
        assert not wait_until_idle(most_seconds=0.5)
    finally:
        LOOKING_ON.clear()
        ended.append(True)
        thread.join()
