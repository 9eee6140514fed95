"""Several ranks stop, save and resume as one; others take over."""

from pathlib import Path

import pytest
import torch

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from tests.distributed.pretraining import pretrained, refused
from tests.distributed.worlds import World
from tests.training.runs import TINY, assert_same_weights, metrics, run
from vicreg_fast.config import Recipe
from vicreg_fast.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images: four steps of eight an epoch."""
    return make_builtin_set(tmp_path_factory.mktemp("images") / "set", train=36, test=10, size=(40, 36))


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICREG_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def recipe() -> Recipe:
    return TINY.replace(pipeline="dali", optimizer="lars", base_lr=0.3, log_every_steps=1)


def written(recipe: Recipe, folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(recipe.to_toml())
    return path


@pytest.mark.parametrize("pipeline", ["dali", "torchvision"])
def test_stopped_by_one_rank_and_resumed_is_bitwise_the_uninterrupted_run(
    pipeline: str, pair: World, recipe: Recipe, images: Path, tmp_path: Path
) -> None:
    file = written(recipe.replace(pipeline=pipeline, workers=1 if pipeline == "dali" else 0), tmp_path)
    every = list(range(1, 13))
    assert pair.run(pretrained, file, images, tmp_path / "whole") == [(12, every)] * 2
    path = tmp_path / "stopped"
    # Asked for by one rank, after its second step: both stop at the same later one.
    assert pair.run(pretrained, file, images, path, 2, 1) == [(3, every[:3])] * 2
    assert load_checkpoint(path / "checkpoint.pt")["step"] == 3
    assert pair.run(pretrained, file, images, path, 6, 0) == [(7, every[3:7])] * 2
    assert pair.run(pretrained, file, images, path) == [(12, every[7:])] * 2
    assert metrics(path) == metrics(tmp_path / "whole")
    assert_same_weights(path, tmp_path / "whole")
    states = load_checkpoint(path / "checkpoint.pt")["ranks"]
    assert [state["views"]["rank"] for state in states] == [0, 1]


def test_another_number_of_ranks_resumes_at_any_step(
    pair: World, recipe: Recipe, images: Path, tmp_path: Path
) -> None:
    file, path = written(recipe, tmp_path), tmp_path / "run"
    assert pair.run(pretrained, file, images, path, 3) == [(4, [1, 2, 3, 4])] * 2  # an epoch
    manifest = load_manifest(images)
    torch.set_num_threads(1)
    assert run(recipe, manifest, path, stop_at=6).step == 6  # half of the second, on one rank
    assert pair.run(pretrained, file, images, path) == [(12, [7, 8, 9, 10, 11, 12])] * 2
    assert [line["step"] for line in metrics(path)] == list(range(1, 13))


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(
    world: World, recipe: Recipe, images: Path, tmp_path: Path
) -> None:
    file = written(recipe.replace(batch_size=9 if world.size != 3 else 8), tmp_path)
    (message,) = set(world.run(refused, file, images, tmp_path / "run"))
    nearest = {2: 8, 3: 9, 4: 8}[world.size]
    assert message.startswith("UsageError: batch_size = ")
    assert message.endswith(
        f"does not divide among {world.size} ranks into two images or more each; "
        f"use --set batch_size={nearest}"
    )


def test_ranks_that_see_another_checkpoint_or_other_images_are_refused(
    pair: World, recipe: Recipe, images: Path, tmp_path: Path
) -> None:
    file, path = written(recipe, tmp_path), tmp_path / "run"
    pair.run(pretrained, file, images, path, 0)
    found = pair.run(refused, file, images, path, None, 0, None, tmp_path / "elsewhere")
    for place, message in zip((path, tmp_path / "elsewhere"), found, strict=True):
        assert message == (
            f"CheckpointError: {place / 'checkpoint.pt'}: rank 0 sees step 1, rank 1 sees none; "
            "put --out on storage that all nodes share"
        )
    fewer = make_builtin_set(tmp_path / "fewer", train=35, test=10, size=(40, 36))
    found = pair.run(refused, file, images, path, None, 0, fewer)
    assert all(message.startswith("DataError: rank 1 has other images than rank 0 (") for message in found)
    assert all(message.endswith("give every node the same --data") for message in found)
