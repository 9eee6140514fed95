from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms as transforms
from PIL import Image

from pipelines.eval_images import eval_batches, eval_view
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest, load_manifest
from vicreg_fast.errors import DataError


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_order_and_the_last_is_short(workers: int, one_class_an_image: Manifest) -> None:
    state = torch.get_rng_state()
    loader = eval_batches(one_class_an_image, image_size=32, batch_size=8, workers=workers)
    batches = list(loader)
    assert [len(label) for _, label in batches] == [8, 8, 6]
    assert torch.cat([label for _, label in batches]).tolist() == list(range(22))
    for images, labels in batches:
        assert images.shape[1:] == (3, 32, 32)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert images.is_contiguous(memory_format=torch.channels_last)
    again = list(loader)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_view_is_torchvisions_evaluation_transform(one_class_an_image: Manifest) -> None:
    image = decode_rgb(one_class_an_image.path(3)).resize((500, 375))
    resize = transforms.Resize(256, transforms.InterpolationMode.BICUBIC)
    expected = transforms.Compose([resize, transforms.CenterCrop(224)])(image)
    assert np.array_equal(np.asarray(eval_view(image, 224)), np.asarray(expected))


def test_small_images_are_taken_whole() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert np.array_equal(np.asarray(eval_view(image, 32)), np.asarray(image))
    assert eval_view(image.resize((100, 80)), 32).size == (32, 32)
    assert eval_view(image, 64).size == (64, 64)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_after_the_check_is_named(workers: int, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.jpg")
    manifest = load_manifest(tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.jpg.*data check"):
        list(eval_batches(manifest, image_size=32, batch_size=2, workers=workers))
