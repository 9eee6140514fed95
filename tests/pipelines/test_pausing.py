"""Loader workers that wait within a batch: what stops, what goes on, and what is left behind."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from torch.utils.data import DataLoader, Dataset

from pipelines.pausing import pause_workers, resume_workers
from pipelines.workers import worker_context, worker_start

SECONDS = 0.01


class Counting(Dataset[int]):
    """Writes one byte to its worker's file for each sample, each of which takes SECONDS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, index: int) -> int:
        time.sleep(SECONDS)
        with (self.folder / str(os.getpid())).open("ab") as file:
            file.write(b".")
        return index

    def __len__(self) -> int:
        return 100_000


def loader(folder: Path) -> "DataLoader[int]":
    return DataLoader(
        Counting(folder),
        batch_size=200,
        num_workers=2,
        worker_init_fn=worker_start(),
        multiprocessing_context=worker_context(2),
    )


def made(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir()}


def wait_for(condition: "object", seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def batches(tmp_path: Path) -> Iterator[Iterator[object]]:
    """Of a loader that is in the middle of its first batches."""
    found = iter(loader(tmp_path))
    wait_for(lambda: len(made(tmp_path)) == 2)
    yield found
    del found


def test_workers_wait_within_a_batch_and_go_on_with_it(batches: Iterator[object], tmp_path: Path) -> None:
    assert pause_workers()
    workers = {int(name) for name in made(tmp_path)}
    time.sleep(10 * SECONDS)
    before = made(tmp_path)
    time.sleep(30 * SECONDS)
    assert made(tmp_path) == before
    assert all(count < 200 for count in before.values())
    assert {psutil.Process(pid).status() for pid in workers} == {psutil.STATUS_SLEEPING}
    resume_workers()
    assert next(batches).tolist() == list(range(200))  # type: ignore[attr-defined]
    assert next(batches).tolist() == list(range(200, 400))  # type: ignore[attr-defined]


def test_workers_can_be_paused_again_and_again(batches: Iterator[object]) -> None:
    for number in range(200):
        assert pause_workers()
        if number % 3:  # or at once
            time.sleep(random.random() * 1e-3 * number / 3)
        resume_workers()
    assert next(batches).tolist() == list(range(200))  # type: ignore[attr-defined]


def test_what_is_no_worker_is_not_paused() -> None:
    """The signal would end it."""
    another = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    another.start()
    pause_workers()
    resume_workers()
    time.sleep(0.1)
    assert another.is_alive()
    another.kill()
    another.join()


def test_paused_workers_end_with_the_process_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.pipelines.test_pausing import loader, made, wait_for\n"
        "from pipelines.pausing import pause_workers\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    batches = iter(loader(folder))\n"
        "    wait_for(lambda: len(made(folder)) == 2)\n"
        "    assert pause_workers()\n"
        "    print(*made(folder), flush=True)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program, encoding="utf-8")
    (tmp_path / "made").mkdir()
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "made")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=30)
    parent.stdout.close()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
