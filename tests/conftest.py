"""What holds for every test.

Without a GPU, Triton interprets its kernels: said before anything imports Triton, whose own functions are
decorated when it is imported.
"""

import multiprocessing
import os

import pytest
import torch

from pipelines.workers import PRELOADED

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
multiprocessing.set_forkserver_preload(list(PRELOADED))  # whichever test starts the server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
