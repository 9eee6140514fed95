"""The compiled resize against Pillow's."""

import numpy as np
import pytest
from PIL import Image

from pipelines.resize_kernel import ROWS, resized_crop


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise: every wrong weight shows, and every wrong clipping."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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
def test_it_is_pillows_to_the_byte(box: str, size: int, flip: bool) -> None:
    image = picture(97, 131)
    out = np.full((size, size, 3), 77, dtype=np.uint8)
    resized_crop(out, image, *BOXES[box], flip)
    np.testing.assert_array_equal(out, pillows(image, BOXES[box], size, flip))


@pytest.mark.parametrize("seed", range(4))
def test_any_crop_is_pillows_in_its_order_of_the_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = set()
    for _ in range(40):
        height, width, size = (int(n) for n in (*rng.integers(1, 200, 2), rng.integers(1, 100)))
        image = picture(height + 3, width + 5, seed)
        box, out = (2, 1, height, width), np.empty((size, size, 3), np.uint8)
        resized_crop(out, image, *box, False)
        np.testing.assert_array_equal(out, pillows(image, box, size, False), err_msg=f"{box} to {size}")
        orders.add(height - size > 2 * max(width - size, 0))
    assert orders == {False, True}


def test_a_constant_image_stays_itself() -> None:
    for value in (0, 1, 127, 254, 255):
        image, out = np.full((50, 60, 3), value, np.uint8), np.empty((224, 224, 3), np.uint8)
        resized_crop(out, image, 7, 9, 31, 40, False)
        assert (out == value).all()
