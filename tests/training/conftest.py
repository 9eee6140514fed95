"""One small set of images a session, and a network small enough to train in moments."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import Manifest, load_manifest
from tests.training.runs import TINY
from vicreg_fast.config import Recipe


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICREG_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores cost these small networks most of their time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_builtin_set(tmp_path_factory.mktemp("images") / "set", train=36, test=10, size=(40, 36))


@pytest.fixture
def manifest(images: Path) -> Manifest:
    """36 images: four steps of eight an epoch, the last four images dropped."""
    return load_manifest(images)


@pytest.fixture
def tiny() -> Recipe:
    return TINY
