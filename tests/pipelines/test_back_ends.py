"""What both back ends promise alike: the contract, coverage, seeds, ranks, resuming, and errors in one
line."""

import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.contract import ViewBatch, ViewPipeline
from pipelines.factory import make_views
from pipelines.manifest import Manifest, load_manifest
from vicreg_fast.errors import CheckpointError, DataError, UsageError

BOTH = pytest.mark.parametrize("kind", ["torchvision", "dali"])


def make(kind: Any, manifest: Manifest, **changes: Any) -> ViewPipeline:
    options: dict[str, Any] = {
        "augmentation": "official",
        "image_size": 32,
        "batch_size": 5,
        "seed": 3,
        "workers": 1,
        "device": "cpu",
    }
    return make_views(kind, manifest, **{**options, **changes})


def take(pipeline: ViewPipeline, count: int) -> list[ViewBatch]:
    return list(islice(iter(pipeline), count))


def same(first: ViewBatch, second: ViewBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@BOTH
@pytest.mark.parametrize("augmentation", ["official", "small-images"])
def test_batches_keep_the_contract(kind: str, augmentation: str, one_class_an_image: Manifest) -> None:
    pipeline = make(kind, one_class_an_image, augmentation=augmentation)
    for batch in take(pipeline, 2):
        pipeline.contract.check(batch)
        assert batch.view_1.float().std() > 10
        assert not torch.equal(batch.view_1, batch.view_2)
    assert pipeline.name == kind
    assert pipeline.batches_per_epoch == 4
    pipeline.close()
    with pytest.raises(DataError, match="closed"):
        take(pipeline, 1)


@BOTH
@pytest.mark.parametrize("batch_size", [11, 5])
def test_an_epoch_has_each_image_once(kind: str, batch_size: int, one_class_an_image: Manifest) -> None:
    pipeline = make(kind, one_class_an_image, batch_size=batch_size)
    steps = 22 // batch_size
    epochs = [torch.cat([batch.label for batch in take(pipeline, steps)]).tolist() for _ in range(3)]
    for labels in epochs:
        assert len(set(labels)) == steps * batch_size
    assert epochs[0] != epochs[1] != epochs[2]
    pipeline.close()


@BOTH
def test_labels_belong_to_their_images(kind: str, tmp_path: Path) -> None:
    from PIL import Image

    for name, value in (("dark", 20), ("bright", 220)):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / name / f"{number}.png")
    manifest = load_manifest(tmp_path)
    pipeline = make(kind, manifest, batch_size=6)
    for batch in take(pipeline, 3):
        bright = (
            batch.view_1.float().mean(dim=(1, 2, 3)) > 100
        )  # brightness 0.6 of 220 is above, 1.4 of 20 below
        assert [manifest.classes[label] == "bright" for label in batch.label.tolist()] == bright.tolist()
    pipeline.close()


@BOTH
def test_ranks_share_an_epoch_without_overlap(kind: str, one_class_an_image: Manifest) -> None:
    ranks = [make(kind, one_class_an_image, rank=rank, world_size=3, batch_size=3) for rank in range(3)]
    assert {pipeline.batches_per_epoch for pipeline in ranks} == {2}
    for _ in range(2):
        labels = [torch.cat([batch.label for batch in take(pipeline, 2)]) for pipeline in ranks]
        assert len(set(torch.cat(labels).tolist())) == 18
    for pipeline in ranks:
        pipeline.close()


@BOTH
def test_seeds_decide_everything(kind: str, one_class_an_image: Manifest) -> None:
    batches = []
    for seed in (3, 3, 4):
        pipeline = make(kind, one_class_an_image, seed=seed)
        batches.append(take(pipeline, 3))
        pipeline.close()
    assert all(same(a, b) for a, b in zip(batches[0], batches[1], strict=True))
    assert not torch.equal(batches[0][0].label, batches[2][0].label)


@BOTH
def test_the_number_of_workers_changes_nothing(kind: str, one_class_an_image: Manifest) -> None:
    batches = []
    for workers in (1, 2):
        pipeline = make(kind, one_class_an_image, workers=workers)
        batches.append(take(pipeline, 3))
        pipeline.close()
    assert all(same(a, b) for a, b in zip(*batches, strict=True))


@BOTH
@pytest.mark.parametrize("given", [0, 2, 4, 7], ids=["start", "mid-epoch", "epoch boundary", "second epoch"])
def test_a_resumed_stream_is_the_same_stream(kind: str, given: int, one_class_an_image: Manifest) -> None:
    whole = make(kind, one_class_an_image)
    take(whole, given)
    state = whole.state_dict()
    expected = take(whole, 6)
    whole.close()
    resumed = make(kind, one_class_an_image, workers=2)
    resumed.load_state_dict(state)
    assert all(same(a, b) for a, b in zip(take(resumed, 6), expected, strict=True))
    resumed.load_state_dict(state)  # and again, from a stream that is already running
    assert same(take(resumed, 1)[0], expected[0])
    resumed.close()


@BOTH
def test_a_state_survives_a_checkpoint_file(kind: str, one_class_an_image: Manifest, tmp_path: Path) -> None:
    pipeline = make(kind, one_class_an_image)
    take(pipeline, 1)
    torch.save(pipeline.state_dict(), tmp_path / "state.pt")
    expected = take(pipeline, 1)[0]
    pipeline.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(take(pipeline, 1)[0], expected)
    pipeline.close()


@BOTH
@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("seed", 9, "seed 9"),
        ("batch_size", 7, "batch size"),
        ("data", "0" * 16, "data set"),
        ("pipeline", "other", "pipeline 'other'"),
        ("world_size", 2, "batch size 5 of 2 ranks is not this run's global batch of 5"),
        ("world_size", None, "epoch, step or batch"),
        ("batches_per_step", 2, "batches a step"),
        ("version", 1, "version 1 is not 2: its views came from other random numbers"),
        ("epoch", None, "epoch, step or batch"),
    ],
)
def test_a_foreign_state_is_refused(
    kind: str, field: str, value: object, word: str, one_class_an_image: Manifest
) -> None:
    pipeline = make(kind, one_class_an_image)
    with pytest.raises(CheckpointError, match=word) as caught:
        pipeline.load_state_dict({**pipeline.state_dict(), field: value})
    assert "\n" not in str(caught.value)
    pipeline.close()


@BOTH
def test_global_random_numbers_are_left_alone(kind: str, one_class_an_image: Manifest) -> None:
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    pipeline = make(kind, one_class_an_image)
    take(pipeline, 5)
    pipeline.state_dict()
    pipeline.close()
    after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@BOTH
def test_a_file_that_breaks_after_the_check_is_named(kind: str, tmp_path: Path) -> None:
    from PIL import Image

    for number in range(4):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"image {number}.jpg")
    manifest = load_manifest(tmp_path)
    broken = tmp_path / "image 2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    pipeline = make(kind, manifest, batch_size=4)
    with pytest.raises(DataError, match="data check") as caught:
        take(pipeline, 3)
    assert "image 2.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    pipeline.close()


@BOTH
def test_a_set_smaller_than_a_batch_is_refused(kind: str, one_class_an_image: Manifest) -> None:
    with pytest.raises(DataError, match="batch_size=22"):
        make(kind, one_class_an_image, batch_size=23)
    with pytest.raises(DataError, match="a batch of 24"):
        make(kind, one_class_an_image, batch_size=12, world_size=2)
    with pytest.raises(DataError, match=r"a batch of 24; .*batch_size=20"):
        make(kind, one_class_an_image, batch_size=6, batches_per_step=4)


@BOTH
def test_every_usable_format_passes_through_in_one_batch(
    kind: str, usable: list[str], tmp_path: Path
) -> None:
    """A file that only one back end reads would end this with an error."""
    manifest = load_manifest(tmp_path)
    assert sorted(manifest.files) == sorted(usable)
    pipeline = make(kind, manifest, batch_size=len(usable))
    (batch,) = take(pipeline, 1)
    pipeline.contract.check(batch)
    assert batch.label.tolist() == [-1] * len(usable)
    pipeline.close()


def test_unknown_names_are_usage_errors(one_class_an_image: Manifest) -> None:
    with pytest.raises(UsageError, match="official or small-images"):
        make("torchvision", one_class_an_image, augmentation="none")
    with pytest.raises(UsageError, match="auto, dali or torchvision"):
        make("ffcv", one_class_an_image)


@BOTH
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so asking for it is no error")
def test_a_missing_device_is_a_usage_error(kind: str, one_class_an_image: Manifest) -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        make(kind, one_class_an_image, device="cuda")
