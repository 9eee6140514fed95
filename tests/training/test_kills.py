"""Killed at any moment, a run goes on from its last checkpoint, and ends as one that was never killed."""

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.fork_servers import fork_server_with
from tests.training.runs import assert_same_weights, metrics, pretrain_in
from vicreg_fast.config import Recipe
from vicreg_fast.training.checkpoint import load_checkpoint

KILLS = 30
STEPS = 24
MOST_STEPS = 6
"""That a run does before it is killed."""
LIMIT = 120.0
"""Seconds that a run may take on a machine that does other things too."""


@pytest.fixture
def fork_server() -> Iterator[ForkServerContext]:
    with fork_server_with("tests.training.runs", "pipelines.dali_view_kernel") as context:
        yield context


@dataclass(frozen=True)
class Runs:
    """Starts runs, forked from a process that has imported everything."""

    context: ForkServerContext
    recipe_file: Path
    images: Path

    def start(self, path: Path) -> tuple[BaseProcess, Connection]:
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=pretrain_in, args=(self.recipe_file, self.images, path, theirs))
        process.start()
        theirs.close()
        return process, ours

    def finished(self, path: Path) -> tuple[float, float]:
        """Runs to the end. Seconds until its first step is done, and of each after it."""
        began = time.monotonic()
        process, stepped = self.start(path)
        assert stepped.poll(LIMIT)
        stepping = time.monotonic()
        process.join(LIMIT)
        assert process.exitcode == 0
        return stepping - began, (time.monotonic() - stepping) / STEPS


@pytest.mark.slow
def test_thirty_kills_at_random_moments_change_no_bit(
    fork_server: ForkServerContext, tiny: Recipe, images: Path, tmp_path: Path
) -> None:
    recipe = tiny.replace(
        pipeline="dali", epochs=6, log_every_steps=1, checkpoint_every_steps=1, keep_checkpoints=3
    )
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    runs = Runs(fork_server, tmp_path / "recipe.toml", images)
    runs.finished(tmp_path / "first")  # what makes the runs imports
    before, a_step = runs.finished(tmp_path / "whole")
    draw, kills, run = random.Random(0), 0, 0
    at: set[int] = set()
    while kills < KILLS:
        path = tmp_path / f"run-{run}"
        process, stepped = runs.start(path)
        if kills % 3 == 0:  # while it reads, resumes and builds
            process.join(draw.uniform(0.0, before))
        else:
            for _ in range(draw.randint(1, MOST_STEPS)):
                assert stepped.poll(LIMIT)
                try:
                    stepped.recv()
                except EOFError:  # it had fewer left to do
                    break
            process.join(draw.uniform(0.0, 2 * a_step))  # in the middle of one, or while it saves
        if process.exitcode is None:
            process.kill()
            process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            if (path / "checkpoint.pt").exists():
                at.add(load_checkpoint(path / "checkpoint.pt")["step"])
        else:
            assert process.exitcode == 0
            run += 1
    runs.finished(tmp_path / f"run-{run}")
    assert run >= 2  # several runs were killed and came to their end
    assert len(at) >= 8  # at many places
    for number in range(run + 1):
        path = tmp_path / f"run-{number}"
        assert_same_weights(path, tmp_path / "whole")
        assert metrics(path) == metrics(tmp_path / "whole")
        names = sorted(entry.name for entry in (path / "checkpoints").iterdir() if entry.suffix == ".pt")
        assert names[-3:] == [f"step-{step:08d}.pt" for step in (STEPS - 2, STEPS - 1, STEPS)]
        assert len(names) <= 4  # one more where it was killed before it could take away the oldest
        for name in (*(f"checkpoints/{n}" for n in names), "best.pt", "checkpoint.pt"):
            load_checkpoint(path / name)
