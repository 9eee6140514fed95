"""DALI's graph for a GPU, which needs none until it is given its device; and the pipeline on a GPU."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.dali_graph import MOST_DECODED_MIB, decode_set, decoded_mib, views_pipeline
from pipelines.factory import make_views
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest, load_manifest
from pipelines.spec import AUGMENTATIONS
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


def gpu_graph(*, decoded: bool) -> Any:
    graph = views_pipeline(
        lambda: ([], [], []),
        specs=AUGMENTATIONS["official"],
        image_size=32,
        batch_size=4,
        threads=1,
        device=torch.device("cuda", 0),
        decoded=decoded,
    )
    graph._build_graph()  # what build() does before it takes a device
    return graph


@pytest.mark.parametrize("decoded", [False, True])
def test_the_gpu_graph_keeps_all_but_the_parameters_on_the_device(decoded: bool) -> None:
    """Which operators there are, and that no pixel goes back."""
    graph = gpu_graph(decoded=decoded)
    assert [output.device for output in graph._graph_outputs] == ["gpu", "gpu"]
    decoders = [str(op.spec) for op in graph._ops if str(op.spec).startswith("OpSpec for decoders__Image")]
    assert len(decoders) == (0 if decoded else 1)
    assert all("device: mixed" in decoder for decoder in decoders)


def test_small_sets_stay_decoded(one_class_an_image: Manifest) -> None:
    def mib(count: int, side: int) -> float:
        return decoded_mib(replace(one_class_an_image, heights=(side,) * count, widths=(side,) * count))

    assert round(mib(50_000, 32), 1) == 146.5  # CIFAR
    assert mib(100_000, 64) < MOST_DECODED_MIB < mib(1_281_167, 256)
    images = decode_set(one_class_an_image, threads=2)
    assert [image.shape for image in images] == [(40 + number, 60, 3) for number in range(22)]
    for path, image in zip(map(one_class_an_image.path, range(22)), images, strict=True):
        # two decoders, which round differently
        assert np.abs(np.asarray(decode_rgb(path)).astype(int) - image).max() <= 2


def test_decoding_once_changes_no_view_and_can_be_switched_off(
    one_class_an_image: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counted(manifest: Manifest, threads: int) -> Any:
        decoded.append(len(manifest))
        return decode_set(manifest, threads)

    monkeypatch.setattr("pipelines.dali_views.decode_set", counted)
    given = []
    for decoder_cache in ("off", "auto"):
        views = make_views("dali", one_class_an_image, **OPTIONS, device="cpu", decoder_cache=decoder_cache)  # type: ignore[arg-type]
        given.append(list(islice(iter(views), 9)))
        views.close()
    assert decoded == [22]
    for once, each_time in zip(*given, strict=True):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(once, each_time, strict=True))
    monkeypatch.setattr("pipelines.dali_views.MOST_DECODED_MIB", 0.1)
    views = make_views("dali", one_class_an_image, **OPTIONS, device="cpu")
    next(iter(views))
    views.close()
    assert decoded == [22]
    with pytest.raises(UsageError, match="decoder_cache 'on': must be auto or off"):
        make_views("dali", one_class_an_image, **OPTIONS, device="cpu", decoder_cache="on")  # type: ignore[arg-type]


def test_a_file_that_changed_before_it_was_kept_is_named(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"image {number}.jpg")
    manifest = load_manifest(tmp_path)
    Image.new("RGB", (30, 40)).save(tmp_path / "image 1.jpg")
    views = make_views("dali", manifest, **{**OPTIONS, "batch_size": 4}, device="cpu")
    with pytest.raises(DataError, match=r"image 1\.jpg: cannot be decoded \(changed since"):
        next(iter(views))
    views.close()


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
