"""The compiled resize against Pillow's, and in DALI against itself."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.dali_fixed import render_fixed
from pipelines.resize_kernel import ROWS, resized_crop
from pipelines.view_parameters import ViewParameters


def picture(height: int, width: int, seed: int = 0, contrast: int = 128) -> np.ndarray:
    """Noise: every wrong weight shows, and at the full contrast of 256 every wrong clipping."""
    least = 128 - contrast // 2
    return np.random.default_rng(seed).integers(least, least + contrast, (height, width, 3), dtype=np.uint8)


def pillows(image: np.ndarray, box: tuple[int, int, int, int], size: int, flip: bool) -> np.ndarray:
    top, left, height, width = box
    crop = Image.fromarray(image).crop((left, top, left + width, top + height))
    resized = crop.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else resized)


BOXES = {
    "whole": (0, 0, 97, 131),
    "inner": (3, 5, 80, 101),
    "wide": (40, 0, 9, 131),
    "tall": (0, 60, 97, 7),
    "one pixel": (50, 70, 1, 1),
    "last corner": (96 - 12, 130 - 20, 13, 21),
}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [1, 7, ROWS, 33, 64, 224])
@pytest.mark.parametrize("box", BOXES)
def test_it_is_pillows_to_a_rounding(box: str, size: int, flip: bool) -> None:
    image = picture(97, 131)
    out = np.full((size, size, 3), 77, dtype=np.uint8)
    resized_crop(out, image, *BOXES[box], flip)
    apart = np.abs(out.astype(int) - pillows(image, BOXES[box], size, flip))
    assert apart.max() <= 1
    # Pillow 13 filters the columns of some tall crops first, and so rounds and clips something else.
    assert apart.mean() < (0.3 if box == "tall" else 0.002)


@pytest.mark.parametrize("size", [33, 224])
@pytest.mark.parametrize("box", ["whole", "inner", "last corner"])
def test_it_clips_where_pillow_does(box: str, size: int) -> None:
    image = picture(97, 131, contrast=256)
    out = np.empty((size, size, 3), np.uint8)
    resized_crop(out, image, *BOXES[box], False)
    assert np.abs(out.astype(int) - pillows(image, BOXES[box], size, False)).max() <= 1


def test_a_constant_image_stays_itself() -> None:
    for value in (0, 1, 127, 254, 255):
        image, out = np.full((50, 60, 3), value, np.uint8), np.empty((224, 224, 3), np.uint8)
        resized_crop(out, image, 7, 9, 31, 40, False)
        assert (out == value).all()


def test_dali_runs_it_on_each_image_with_its_own_crop() -> None:
    images = [picture(60, 80, 1), picture(33, 41, 2), picture(120, 50, 3)]
    boxes = [(5, 10, 40, 64), (0, 0, 33, 41), (60, 20, 17, 30)]
    flips = [True, False, True]
    views = render_fixed(
        [Image.fromarray(image) for image in images],
        [
            ViewParameters(crop=box, flip=flip, jitter=None, gray=False, sigma=None, solarize=False)
            for box, flip in zip(boxes, flips, strict=True)
        ],
        48,
    ).numpy()
    for view, image, box, flip in zip(views, images, boxes, flips, strict=True):
        expected = np.empty((48, 48, 3), np.uint8)
        resized_crop(expected, image, *box, flip)
        np.testing.assert_array_equal(view, expected)


def test_a_second_process_compiles_nothing() -> None:
    """Compiling takes seconds, of every worker and every rank, where Numba's cache does not hold."""
    code = (
        "from pipelines.resize_kernel import dali_run, dali_setup; "
        "print(dali_run.cache_hits, dali_setup.cache_hits)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr
