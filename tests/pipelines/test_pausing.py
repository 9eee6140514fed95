"""Loader workers that wait within a batch: what stops, what goes on, and what is left behind."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from pipelines import pausing
from pipelines.pausing import pause_workers, resume_workers
from pipelines.workers import worker_context, worker_start
from tests.processes import wait_for, wait_until_gone

SECONDS = 0.01
BATCH = 200


class Counting(Dataset[int]):
    """Writes one byte to its worker's file for each sample, each of which takes SECONDS; half of a batch
    before there is a file `go`, however slowly the other worker starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, index: int) -> int:
        time.sleep(SECONDS)
        while index % BATCH >= BATCH // 2 and not (self.folder / "go").exists():
            time.sleep(SECONDS)
        with (self.folder / str(os.getpid())).open("ab") as file:
            file.write(b".")
        return index

    def __len__(self) -> int:
        return 100_000


class Looking:
    """Starts a worker, which then writes one byte to a file for each look at the shut gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = worker_start()

    def __call__(self, number: int) -> None:
        self.start(number)
        pausing.time = self  # type: ignore[assignment]

    def sleep(self, seconds: float) -> None:
        with (self.folder / f"{os.getpid()}.looks").open("ab") as file:
            file.write(b".")
        time.sleep(seconds)


def loader(folder: Path) -> "DataLoader[int]":
    return DataLoader(
        Counting(folder),
        batch_size=BATCH,
        num_workers=2,
        worker_init_fn=Looking(folder),
        multiprocessing_context=worker_context(2),
    )


def made(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir() if file.name.isdecimal()}


def looks(folder: Path) -> list[int]:
    """Of each worker that looked at all."""
    return [file.stat().st_size for file in folder.glob("*.looks")]


@pytest.fixture
def batches(tmp_path: Path) -> Iterator[Iterator[Any]]:
    """Of a loader that is in the middle of its first batches."""
    found = iter(loader(tmp_path))
    wait_for(lambda: len(made(tmp_path)) == 2)
    yield found
    del found


def test_workers_wait_within_a_batch_and_go_on_with_it(batches: Iterator[Any], tmp_path: Path) -> None:
    assert pause_workers()
    wait_for(lambda: len(looks(tmp_path)) == 2)
    before, looked = made(tmp_path), min(looks(tmp_path))
    assert all(0 < count < BATCH for count in before.values())
    (tmp_path / "go").touch()
    wait_for(lambda: min(looks(tmp_path)) > looked + 5)
    assert made(tmp_path) == before
    resume_workers()
    assert next(batches).tolist() == list(range(BATCH))
    assert next(batches).tolist() == list(range(BATCH, 2 * BATCH))


def test_workers_can_be_paused_again_and_again(batches: Iterator[Any], tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    for number in range(200):
        assert pause_workers()
        if number % 3:  # or at once
            time.sleep(random.random() * 1e-3 * number / 3)
        resume_workers()
    assert next(batches).tolist() == list(range(BATCH))


def echo(connection: Connection) -> None:
    while True:
        connection.send(connection.recv())


def test_what_is_no_worker_is_not_paused() -> None:
    """The signal would end it."""
    ours, theirs = multiprocessing.Pipe()
    another = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,))
    another.start()
    theirs.close()
    for word in ("before", "after"):
        ours.send(word)
        assert ours.recv() == word
        pause_workers()
        resume_workers()
    assert another.is_alive()
    another.kill()
    another.join()
    ours.close()


def test_paused_workers_end_with_the_process_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.pipelines.test_pausing import loader, looks, made, wait_for\n"
        "from pipelines.pausing import pause_workers\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    batches = iter(loader(folder))\n"
        "    wait_for(lambda: len(made(folder)) == 2)\n"
        "    assert pause_workers()\n"
        "    wait_for(lambda: len(looks(folder)) == 2)\n"
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
    parent.wait(timeout=120)
    parent.stdout.close()
    wait_until_gone(*pids)
