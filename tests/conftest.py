"""What holds for every test.

Without a GPU, Triton interprets its kernels: said before anything imports Triton, whose own functions are
decorated when it is imported.
"""

import multiprocessing
import os
import random

import pytest
import torch

from tests.fork_servers import workers

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
multiprocessing.set_forkserver_preload(list(workers.PRELOADED))  # whichever test starts the server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--random-files",
        type=int,
        metavar="SEED",
        help="run the files in an order drawn from SEED: none may rely on what another leaves behind",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    seed = config.getoption("--random-files")
    return [] if seed is None else [f"files in random order: --random-files {seed}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with a long one at the end; or in random
    order, the same in every worker of pytest-xdist."""
    seed = config.getoption("--random-files")
    if seed is not None:
        files = sorted({item.path for item in items})
        random.Random(seed).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))
        return
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
