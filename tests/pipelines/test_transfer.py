"""In which order copies, events and waits are queued, with stand-ins that write it down; and on a GPU."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipelines.contract import ViewBatch
from pipelines.dali_views import DaliViews
from pipelines.factory import make_views
from pipelines.manifest import Manifest
from pipelines.sampling import batch_indices
from pipelines.transfer import SideStream, copied_ahead

DEVICE = torch.device("cuda", 0)


class Streams:
    """Stands in for torch.cuda's streams and events, and writes down what is queued where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.current = "step"
        self._events = 0
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self._stream("side"))
        monkeypatch.setattr(torch.cuda, "Event", self._event)
        monkeypatch.setattr(torch.cuda, "stream", self._within)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self._stream(self.current))

    def _stream(self, name: str) -> Any:
        return SimpleNamespace(
            name=name, wait_event=lambda event: self.log.append(f"{name} waits for {event.name}")
        )

    def _event(self) -> Any:
        name = f"event {self._events}"
        self._events += 1
        return SimpleNamespace(
            name=name, record=lambda stream: self.log.append(f"{name} recorded on {stream.name}")
        )

    @contextmanager
    def _within(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def view(self, name: str) -> Any:
        def to(device: torch.device, *, non_blocking: bool) -> Any:
            assert (device, non_blocking) == (DEVICE, True)
            self.log.append(f"copy {name} on {self.current}")
            return SimpleNamespace(
                record_stream=lambda stream: self.log.append(f"{name} is used on {stream.name}")
            )

        return SimpleNamespace(to=to)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    return Streams(monkeypatch)


def test_a_copy_starts_before_the_batch_in_front_of_it_is_given(streams: Streams) -> None:
    def loaded() -> Iterator[ViewBatch]:
        for number in range(9):
            streams.log.append(f"load {number}")
            yield ViewBatch(streams.view(f"{number}a"), streams.view(f"{number}b"), torch.tensor([number]))

    batches = copied_ahead(loaded(), SideStream(DEVICE))
    first = next(batches)
    assert first.label.tolist() == [0]
    assert streams.log == [
        "load 0", "copy 0a on side", "copy 0b on side", "event 0 recorded on side",
        "load 1", "copy 1a on side", "copy 1b on side", "event 1 recorded on side",
        "step waits for event 0", "0a is used on step", "0b is used on step",
    ]  # fmt: skip
    streams.log.clear()
    assert next(batches).label.tolist() == [1]
    assert streams.log == [
        "load 2", "copy 2a on side", "copy 2b on side", "event 2 recorded on side",
        "step waits for event 1", "1a is used on step", "1b is used on step",
    ]  # fmt: skip


def test_what_is_no_batch_comes_in_its_turn(streams: Streams) -> None:
    batch = ViewBatch(streams.view("a"), streams.view("b"), torch.tensor([0]))
    batches = copied_ahead(iter([batch, "a failure", batch, batch]), SideStream(DEVICE))
    assert isinstance(next(batches), ViewBatch)
    assert next(batches) == "a failure"
    assert isinstance(next(batches), ViewBatch)


def test_dali_is_waited_for_by_the_side_stream_and_released_after_the_copies(
    streams: Streams, one_class_an_image: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nvidia.dali.plugin.pytorch as plugin
    from nvidia.dali import Pipeline

    for stood_in_for in (Pipeline.share_outputs, plugin.feed_ndarray):
        assert "cuda_stream" in inspect.signature(stood_in_for).parameters
    log = streams.log
    output = SimpleNamespace(as_tensor=lambda: None)
    pipeline = SimpleNamespace(
        share_outputs=lambda cuda_stream: log.append(f"{cuda_stream.name} waits for DALI") or [output] * 2,
        release_outputs=lambda: log.append("release"),
        schedule_run=lambda: log.append("schedule"),
    )
    monkeypatch.setattr(
        plugin, "feed_ndarray", lambda _, view, cuda_stream: log.append(f"copy on {cuda_stream.name}")
    )
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _, stream: log.append(f"used on {stream.name}"), raising=False
    )
    views = DaliViews(
        one_class_an_image,
        augmentation="official", image_size=32, batch_size=5, seed=0, workers=1, device=torch.device("cpu"),
    )  # fmt: skip
    views._side = SideStream(DEVICE)
    first = batch_indices(views.position, len(one_class_an_image))
    views._pipeline = pipeline
    batch = next(iter(views))
    assert batch.label.tolist() == first, "every image is its own class"
    assert log == [
        "side waits for DALI", "copy on side", "copy on side", "event 0 recorded on side",
        "step waits for event 0", "used on step", "used on step", "release", "schedule",
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")
def test_torchvisions_batches_reach_the_gpu_whole_and_without_waiting(one_class_an_image: Manifest) -> None:
    options: dict[str, Any] = {
        "augmentation": "official",
        "image_size": 32,
        "batch_size": 5,
        "seed": 0,
        "workers": 2,
    }
    on_cpu = make_views("torchvision", one_class_an_image, **options, device="cpu")
    expected = list(islice(iter(on_cpu), 8))
    on_cpu.close()
    views = make_views("torchvision", one_class_an_image, **options, device="cuda")
    batches = iter(views)
    given = [next(batches)]
    torch.cuda._sleep(10_000_000_000)  # some seconds of a step that is still queued
    asleep = torch.cuda.Event()
    asleep.record()
    torch.cuda.set_sync_debug_mode("error")
    try:
        given.append(next(batches))
        assert not asleep.query()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    given += islice(batches, 6)
    for ours, theirs in zip(given, expected, strict=True):
        views.contract.check(ours)
        for tensor, other in zip(ours, theirs, strict=True):
            assert torch.equal(tensor.cpu(), other)
    views.close()
