"""What the parent notices of a worker, and what a worker notices of its parent."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from bench.orders import Order, Setup
from bench.worker_process import Patience, WorkerProcess
from tests.bench.fake_worker import serve
from tests.processes import wait_until_gone
from vicreg_fast.config import load_recipe


def setup(scenario: str = "fast") -> Setup:
    return Setup(scenario=scenario, recipe=load_recipe("smoke"), data=Path("nowhere"), device="cpu")


def ordered(number: int) -> Order:
    return Order(action="throughput", round=number)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("SIGKILL", "its process was killed by SIGKILL, as the kernel does when memory runs out"),
        ("exit", "its process ended with exit code 3"),
        ("hang", "it hung: no answer for 2 s, where others took"),
    ],
)
def test_what_becomes_of_a_worker_is_one_line(what: str, said: str) -> None:
    patience = Patience(least=2.0 if what == "hang" else 60.0, factor=0.0)
    worker = WorkerProcess("fast", partial(serve, {"fast": (1, what)}), setup(), patience)
    notes: list[str] = []
    assert worker.ask(ordered(0)).problem is None
    answer = worker.ask(ordered(1), notes.append)
    assert answer.records == ()
    assert (answer.problem or "").startswith(said)
    assert "\n" not in (answer.problem or "")
    assert notes == ["about to"] or what == "hang"
    assert not worker.alive
    assert worker.pid is not None
    assert not psutil.pid_exists(worker.pid)
    worker.tell_to_end(at_once=False)
    worker.close()


def test_a_worker_that_died_between_two_orders_is_noticed_at_the_next() -> None:
    worker = WorkerProcess("fast", partial(serve, {}), setup(), Patience())
    assert worker.ask(ordered(0)).problem is None
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    answer = worker.ask(ordered(1))
    assert answer.problem == "its process was killed by SIGTERM"
    worker.close()


def test_the_limit_follows_from_what_the_kind_took() -> None:
    patience = Patience(first=1000.0, least=10.0, factor=5.0)
    assert patience.limit("fast", "memory") == 1000.0
    patience.note("fast", "memory", 1.0)
    assert patience.limit("fast", "memory") == 10.0, "no less than the least"
    assert patience.limit("tuned", "memory") == 1000.0, "what builds and compiles for the first time"
    assert patience.limit("fast", "throughput") == 1000.0
    patience.note("tuned", "memory", 60.0)
    assert patience.limit("fast", "memory") == 300.0, "the slowest scenario counts"


PARENT = """
import sys, time
from functools import partial
from bench.orders import Order
from bench.worker_process import Patience, WorkerProcess
from tests.bench.fake_worker import serve
from tests.bench.test_worker_process import setup

if __name__ == "__main__":
    worker = WorkerProcess("fast", partial(serve, {"fast": (0, "hang")}), setup(), Patience())
    worker.ask(Order(action="throughput", round=0), lambda note: print(worker.pid, flush=True))
"""


def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    """Not even one that is at work, and reads nothing from its pipe."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(worker)
