"""DALI's graph for a GPU, which needs none until it is given its device; and the pipeline on a GPU."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from pipelines.dali_graph import MOST_CACHE_MIB, decoder_cache_mib, views_pipeline
from pipelines.dali_views import DaliViews
from pipelines.factory import make_views
from pipelines.manifest import Manifest
from pipelines.position import Position
from vicreg_fast.errors import DataError, UsageError
from vicreg_fast.training.capture_guard import forbid_host_sync

NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
)
OPTIONS: dict[str, Any] = {
    "augmentation": "official",
    "image_size": 32,
    "batch_size": 5,
    "seed": 0,
    "workers": 2,
}


def gpu_graph(manifest: Manifest, *, cache_mib: int) -> Any:
    position = Position(
        pipeline="dali",
        data="",
        augmentation="official",
        image_size=32,
        batch_size=4,
        seed=0,
        rank=0,
        world_size=1,
    )
    graph = views_pipeline(
        manifest=manifest,
        position=position,
        threads=1,
        device=torch.device("cuda", 0),
        cache_mib=cache_mib,
        checkpoint=None,
    )
    graph._build_graph()  # what build() does before it takes a device
    return graph


def decoder_arguments(graph: Any) -> dict[str, str]:
    (decoder,) = (str(op.spec) for op in graph._ops if str(op.spec).startswith("OpSpec for decoders__Image"))
    lines = [line.split(": ", 1) for line in decoder.splitlines() if ": " in line]
    return {name.strip(): value for name, value in lines}


def test_the_gpu_graph_keeps_all_but_the_parameters_on_the_device(one_class_an_image: Manifest) -> None:
    """Which operators there are, and that no pixel goes back."""
    graph = gpu_graph(one_class_an_image, cache_mib=0)
    view_1, view_2, label = graph._graph_outputs
    assert (view_1.device, view_2.device, label.device) == ("gpu", "gpu", "cpu")
    arguments = decoder_arguments(graph)
    assert arguments["device"] == "mixed"
    assert not [name for name in arguments if name.startswith("cache")]


def test_the_gpu_decoder_keeps_every_image_that_it_has_decoded(one_class_an_image: Manifest) -> None:
    arguments = decoder_arguments(gpu_graph(one_class_an_image, cache_mib=148))
    cache = {name: arguments[f"cache_{name}"] for name in ("size", "type", "threshold")}
    assert cache == {"size": "148", "type": "threshold", "threshold": "0"}


def test_the_cache_holds_the_decoded_set_or_is_not_there(one_class_an_image: Manifest) -> None:
    def of(count: int, side: int) -> int:
        return decoder_cache_mib(replace(one_class_an_image, heights=(side,) * count, widths=(side,) * count))

    assert of(50_000, 32) == 148  # CIFAR: 146.5 MiB, and room
    assert of(1_281_167, 256) == 0
    whole = 2**20 * (MOST_CACHE_MIB - 1)
    assert whole - 2**20 < of(whole // (3 * 512 * 512), 512) * 2**20 - 2**20 <= whole
    assert of(whole // (3 * 512 * 512) + 1, 512) == 0


def test_the_cache_is_for_a_gpu_and_can_be_switched_off(
    one_class_an_image: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.dali_views.SideStream", lambda device: None)
    asked: list[int] = []

    def stop(*, cache_mib: int, **_: object) -> None:
        asked.append(cache_mib)
        raise RuntimeError("no such device")

    monkeypatch.setattr("pipelines.dali_views.views_pipeline", stop)
    for device, decoder_cache in (("cuda", "auto"), ("cuda", "off"), ("cpu", "auto")):
        views = DaliViews(
            one_class_an_image,
            **OPTIONS,
            device=torch.device(device),
            decoder_cache=decoder_cache,  # type: ignore[arg-type]
        )
        with pytest.raises(DataError, match="no such device"):
            next(iter(views))
    assert asked == [2, 0, 0]
    with pytest.raises(UsageError, match="decoder_cache 'on': must be auto or off"):
        make_views("dali", one_class_an_image, **OPTIONS, device="cpu", decoder_cache="on")  # type: ignore[arg-type]


@pytest.mark.gpu
@NEEDS_CUDA
def test_the_gpu_pipeline_keeps_the_contract_and_resumes(one_class_an_image: Manifest) -> None:
    views = make_views("dali", one_class_an_image, **OPTIONS, device="cuda")
    batches = iter(views)
    for _ in range(3):
        views.contract.check(next(batches))
    state = views.state_dict()
    expected = next(batches)
    views.load_state_dict(state)
    for ours, theirs in zip(next(iter(views)), expected, strict=True):
        assert torch.equal(ours, theirs)
    views.close()


@pytest.mark.gpu
@NEEDS_CUDA
def test_cached_images_give_the_batches_of_decoded_ones(one_class_an_image: Manifest) -> None:
    """Over three epochs, of which the cache serves the second and third."""
    given = []
    for decoder_cache in ("auto", "off"):
        views = make_views("dali", one_class_an_image, **OPTIONS, device="cuda", decoder_cache=decoder_cache)  # type: ignore[arg-type]
        given.append(list(islice(iter(views), 12)))
        views.close()
    for cached, decoded in zip(*given, strict=True):
        assert torch.equal(cached.label, decoded.label)
        for ours, theirs in ((cached.view_1, decoded.view_1), (cached.view_2, decoded.view_2)):
            # not bitwise: which of the GPU's decoders takes an image depends on the others of its batch
            assert (ours.int() - theirs.int()).float().abs().mean() < 0.5


@pytest.mark.gpu
@NEEDS_CUDA
def test_a_batch_of_dali_is_taken_without_waiting_for_the_step(one_class_an_image: Manifest) -> None:
    views = make_views("dali", one_class_an_image, **OPTIONS, device="cuda")
    batches = iter(views)
    next(batches)
    with forbid_host_sync():
        torch.cuda._sleep(10_000_000_000)  # some seconds of a step that is still queued
        asleep = torch.cuda.Event()
        asleep.record()
        batch = next(batches)
        assert not asleep.query()
    views.contract.check(batch)
    views.close()
