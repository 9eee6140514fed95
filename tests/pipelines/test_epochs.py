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
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (3, 2)])
def test_another_number_of_ranks_has_the_same_global_batches(
    kind: str, before: int, after: int, one_class_an_image: Manifest
) -> None:
    """Resumed within the first epoch, and until within the third."""
    with ranks(kind, one_class_an_image, before, []) as streams:
        epoch = global_batches(streams, 2)
        state = streams[0].state_dict()
        expected = global_batches(streams, 2 * STEPS)
    with ranks(kind, one_class_an_image, after, [state] * after) as streams:
        found = global_batches(streams, 2 * STEPS)
    assert same(found, expected)
    epochs = [views_by_label(epoch + found[:1]), views_by_label(found[1 : 1 + STEPS])]
    assert list(epochs[0]) != list(epochs[1])
    shared = epochs[0].keys() & epochs[1].keys()
    assert not any(torch.equal(epochs[0][label], epochs[1][label]) for label in shared)


def test_both_back_ends_show_the_same_views(one_class_an_image: Manifest) -> None:
    batches = []
    for kind in ("dali", "torchvision"):
        with ranks(kind, one_class_an_image, 1, []) as streams:
            batches.append(global_batches(streams, STEPS + 1))
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.label, theirs.label)
        for view, other in ((ours.view_1, theirs.view_1), (ours.view_2, theirs.view_2)):
            # two decoders, which round differently
            assert (view.int() - other.int()).float().abs().mean() < 0.5


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


def test_any_rank_takes_a_position_over() -> None:
    pair = replace(POSITION, batch_size=3, rank=1, world_size=2)
    assert pair.restored(replace(POSITION, epoch=4, step=2).state_dict()) == replace(pair, epoch=4, step=2)
    assert POSITION.restored(replace(pair, epoch=6).state_dict()) == replace(POSITION, epoch=6)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"batch_size": 6}, "batch size 6 of 1 rank is not this run's global batch of 12"),
        ({"seed": 1, "batch_size": 3}, "seed"),
        ({"batches_per_step": 2, "batch_size": 3}, "batches a step"),
    ],
)
def test_ranks_are_all_that_may_change(changes: dict[str, int], word: str) -> None:
    mine = replace(POSITION, **{"rank": 1, "world_size": 2, **changes})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=word):
        mine.restored(replace(POSITION, epoch=4).state_dict())
