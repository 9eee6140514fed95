"""Epochs of whole steps; and a run that goes on with another number of ranks from where an epoch begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from pipelines.contract import ViewBatch
from pipelines.dali_views import DaliViews
from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.torchvision_views import TorchvisionViews
from vicreg_fast.errors import CheckpointError

GLOBAL_BATCH = 6
STEPS = 3
"""An epoch's: 22 images are three global batches, and four are left over."""

Views = DaliViews | TorchvisionViews


def stream(kind: str, manifest: Manifest, **changes: Any) -> Views:
    """One rank's, worked in this process."""
    options: dict[str, Any] = {
        "augmentation": "small-images",
        "image_size": 16,
        "batch_size": GLOBAL_BATCH,
        "seed": 3,
        "workers": 0,
        "device": torch.device("cpu"),
    }
    return (DaliViews if kind == "dali" else TorchvisionViews)(manifest, **{**options, **changes})


@contextmanager
def ranks(
    kind: str, manifest: Manifest, world_size: int, states: list[dict[str, Any]]
) -> Iterator[list[Views]]:
    """The streams of all ranks, each from its state; without states, from the start."""
    share = {"batch_size": GLOBAL_BATCH // world_size, "world_size": world_size}
    streams = [stream(kind, manifest, rank=rank, **share) for rank in range(world_size)]
    for one, state in zip(streams, states, strict=False):
        one.load_state_dict(state)
    yield streams
    for one in streams:
        one.close()


def global_batches(streams: list[Views], count: int) -> list[ViewBatch]:
    """What all ranks were given in `count` steps, each step's batches joined in the order of the ranks."""
    steps = zip(*(islice(iter(one), count) for one in streams), strict=True)
    return [ViewBatch(*(torch.cat(parts) for parts in zip(*step, strict=True))) for step in steps]


def same(first: list[ViewBatch], second: list[ViewBatch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def views_by_label(batches: list[ViewBatch]) -> dict[int, torch.Tensor]:
    """Every image is its own class, so each label is there at most once an epoch."""
    found = {label: view for b in batches for label, view in zip(b.label.tolist(), b.view_1, strict=True)}
    assert len(found) == STEPS * GLOBAL_BATCH
    return found


BOTH = pytest.mark.parametrize("kind", ["torchvision", "dali"])


@BOTH
def test_an_epoch_is_of_whole_steps(kind: str, one_class_an_image: Manifest) -> None:
    """22 images in batches of 3 are 7 batches, of which steps of 3 batches take 6."""
    options = {"batch_size": 3, "batches_per_step": 3}
    whole = stream(kind, one_class_an_image, **options)
    assert whole.batches_per_epoch == 6
    views_by_label(list(islice(iter(whole), 6)))
    state = whole.state_dict()
    assert (state["epoch"], state["step"]) == (1, 0)
    expected = list(islice(iter(whole), 6))
    views_by_label(expected)
    whole.close()
    resumed = stream(kind, one_class_an_image, **options)
    resumed.load_state_dict(state)
    assert same(list(islice(iter(resumed), 2)), expected[:2])
    resumed.close()


@BOTH
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_ranks_goes_on_from_an_epochs_end(
    kind: str, before: int, after: int, one_class_an_image: Manifest
) -> None:
    with ranks(kind, one_class_an_image, before, []) as streams:
        old = global_batches(streams, STEPS)
        state = streams[0].state_dict()
        unchanged = global_batches(streams, 2 * STEPS)
    with ranks(kind, one_class_an_image, after, [state] * after) as streams:
        new = global_batches(streams, STEPS + 1)
        within = [one.state_dict() for one in streams]
        new += global_batches(streams, STEPS - 1)
    epochs = [views_by_label(epoch) for epoch in (old, new[:STEPS], new[STEPS:])]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert list(epochs[first]) != list(epochs[second])
        shared = epochs[first].keys() & epochs[second].keys()
        assert not any(torch.equal(epochs[first][label], epochs[second][label]) for label in shared)
    with ranks(kind, one_class_an_image, after, [state] * after) as streams:
        assert same(global_batches(streams, 1), new[:1])
    with ranks(kind, one_class_an_image, after, within) as streams:
        assert same(global_batches(streams, STEPS - 1), new[STEPS + 1 :])
    if kind == "torchvision":  # its views are of (seed, epoch, image), whatever the ranks
        assert same(new, unchanged)


POSITION = Position(
    pipeline="dali",
    data="",
    augmentation="official",
    image_size=32,
    batch_size=6,
    seed=0,
    rank=0,
    world_size=1,
)


def test_within_an_epoch_the_number_of_ranks_stays() -> None:
    state = replace(POSITION, epoch=4, step=2).state_dict()
    pair = replace(POSITION, batch_size=3, rank=1, world_size=2)
    with pytest.raises(
        CheckpointError, match=r"1 rank wrote it within epoch 4.* resume with 1 rank until"
    ) as caught:
        pair.restored(state)
    assert "\n" not in str(caught.value)


def test_each_change_begins_a_stream_at_its_epoch() -> None:
    pair = replace(POSITION, batch_size=3, rank=1, world_size=2)
    begun = pair.restored(replace(POSITION, epoch=4).state_dict())
    assert begun == replace(pair, epoch=4, began_at_epoch=4)
    later = replace(begun, epoch=6, step=1)
    assert pair.restored(later.state_dict()) == later
    assert POSITION.restored(replace(later, step=0).state_dict()) == replace(
        POSITION, epoch=6, began_at_epoch=6
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"batch_size": 6}, "batch size 6 of 1 rank is not this run's global batch of 12"),
        ({"seed": 1, "batch_size": 3}, "seed"),
        ({"batch_size": 6, "world_size": 1}, "rank"),  # the same number of ranks, but another one's state
    ],
)
def test_ranks_are_all_that_may_change(changes: dict[str, int], word: str) -> None:
    mine = replace(POSITION, **{"rank": 1, "world_size": 2, **changes})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=word):
        mine.restored(replace(POSITION, epoch=4).state_dict())


def test_a_state_from_before_the_field_began_at_the_start() -> None:
    state = replace(POSITION, epoch=4, step=2).state_dict()
    del state["began_at_epoch"], state["batches_per_step"]
    assert POSITION.restored(state) == replace(POSITION, epoch=4, step=2)


def test_a_dali_state_that_lost_its_checkpoint_is_refused(one_class_an_image: Manifest) -> None:
    views = stream("dali", one_class_an_image)
    with pytest.raises(CheckpointError, match="DALI's checkpoint is missing"):
        views.load_state_dict({**views.state_dict(), "epoch": 1})
    views.close()
