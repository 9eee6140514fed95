"""A tiny data set, a tiny recipe, and the command line as a user calls it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO
from unittest import mock

import pytest
import torch

from pipelines.builtin_set import make_builtin_set
from vicreg_fast.cli import main

TINY = {
    "width": 4,
    "stem": "imagenet",
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


@pytest.fixture(scope="session")
def run_here(environment: dict[str, str]) -> Run:
    """`vicreg-fast` with those arguments, in this process, which has imported what takes a process of its own
    seconds; what that process would change in this one is put back. For what a process proves nothing more
    of: not for signals, limits, nor what is imported.
    """

    def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["vicreg-fast", *map(str, arguments)]
        threads = torch.get_num_threads()
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
        try:
            with (
                _captured(1, redirect_stdout) as out,
                _captured(2, redirect_stderr) as err,
                mock.patch.dict(os.environ, {**environment, **more}),
                mock.patch.object(sys, "argv", words),
                pytest.raises(SystemExit) as ended,
            ):
                main()
        finally:
            torch.set_num_threads(threads)
        out.seek(0)
        err.seek(0)
        with out, err:
            return subprocess.CompletedProcess(words, ended.value.code or 0, out.read(), err.read())

    return call


@contextmanager
def _captured(
    number: int, redirect: Callable[[IO[str]], AbstractContextManager[object]]
) -> Iterator[IO[str]]:
    """A file that gets what Python, and what is no Python, writes to the file descriptor of that number."""
    file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (read and closed by the caller)
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with redirect(file):
            yield file
        file.flush()
    finally:
        os.dup2(before, number)
        os.close(before)


def refused(done: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    """It ended with that code and one line on stderr that holds those words, and no traceback. What a run
    tells of its start and its steps before is not counted."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    told = ("training on ", "step ")
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(told)]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])
