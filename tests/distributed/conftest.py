"""Worlds of 2, 3 and 4 processes, shared by all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.distributed.worlds import World, worlds


@pytest.fixture(scope="session")  # not the package's, whose files may come in two parts, or in any order
def all_worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    with worlds({"2": 2, "3": 3, "4": 4, "doomed": 2}, tmp_path_factory.mktemp("worlds")) as every:
        yield every


@pytest.fixture(params=["2", "3", "4"], ids="W={}".format)
def world(request: pytest.FixtureRequest, all_worlds: dict[str, World]) -> World:
    """A world of each size in turn."""
    found: World = all_worlds[request.param]
    return found


@pytest.fixture
def pair(all_worlds: dict[str, World]) -> World:
    return all_worlds["2"]


@pytest.fixture
def doomed(all_worlds: dict[str, World]) -> World:
    """Two ranks that one test may kill."""
    return all_worlds["doomed"]
