"""A tiny data set, a tiny recipe, and the command line as a user calls it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.builtin_set import make_builtin_set

TINY = {
    "width": 4,
    "image_size": 32,
    "expander": "16-16",
    "batch_size": 8,
    "epochs": 2,
    "workers": 1,
    "log_every_steps": 1,
}
TINY_OPTIONS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 20 test images of 32×32."""
    return make_builtin_set(tmp_path_factory.mktemp("data") / "set", train=40, test=20, size=(32, 32))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Its own cache, and one thread: several test processes share the cores."""
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "VICREG_FAST_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Run:
    """`vicreg-fast` with those arguments, in a process of its own."""

    def call(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vicreg_fast", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=cwd,
            env={**environment, **more},
        )

    return call


def refused(done: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    """It ended with that code and one line on stderr that holds those words, and no traceback. What a run
    tells of its steps before is not counted."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("step ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])
