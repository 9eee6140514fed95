"""The colour matrix and the blur on a CPU, as correlations: `fn.filter` is OpenCV's, which is vectorised.

DALI's own CPU operators for both convert one value at a time: on 224² pixels its matrix takes 1.4 ms and its
Gaussian blur 1.7 to 3.1 ms, and these 0.5 ms each (docs/PIPELINES.md).
"""

import math
from typing import Any

import numpy as np

from pipelines.dali_modules import Node, constant, fn, types

BOXES = 3
"""Box filters that make Pillow's Gaussian blur."""
SIGMA_STEPS = 256
"""A pixel: the table of kernels holds this many standard deviations for each."""


def colour_transformed(view: Node, matrix: Node, image_size: int) -> Node:
    """(S, S, 3) uint8: each pixel, as a column of three, multiplied by `matrix`, (3, 3) float32; rounded and
    saturated once.

    With the channels as the three rows of one image, a row of the matrix is a correlation of three by one.
    Only `crop_mirror_normalize` changes between interleaved pixels and planes fast; as used it changes
    nothing else.
    """
    planes = fn.crop_mirror_normalize(view, dtype=types.UINT8, output_layout="CHW")
    rows = fn.reshape(planes, shape=[3, -1], layout="HW")
    mixed = [fn.filter(rows, fn.reshape(matrix[channel], shape=[3, 1]), mode="valid") for channel in range(3)]
    planes = fn.reshape(fn.cat(*mixed, axis=0), shape=[3, image_size, image_size], layout="CHW")
    return fn.crop_mirror_normalize(planes, dtype=types.UINT8, output_layout="HWC")


def box_blurred(view: Node, sigma: Node, most: float) -> Node:
    """(S, S, 3) uint8: Pillow's `GaussianBlur(sigma)` with `sigma` in pixels, rounded to 1/SIGMA_STEPS and at
    most `most`: two correlations with `three_boxes`. Beyond the edge is the edge's value, as in Pillow."""
    last = math.ceil(most * SIGMA_STEPS)
    reach = box_reach(last / SIGMA_STEPS)
    # a table, for to compute the weights by DALI's operators costs a third of the blur itself
    table = constant([three_boxes(step / SIGMA_STEPS, reach) for step in range(last + 1)])
    kernel = table[fn.cast(sigma * float(SIGMA_STEPS), dtype=types.INT32)]
    for shape in ([1, -1], [-1, 1]):
        view = fn.filter(view, fn.reshape(kernel, shape=shape), border="clamp")
    return view


def three_boxes(sigma: float, reach: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(2·BOXES·reach + 1,): the weights of BOXES equal box filters whose variance is sigma² together,
    sigma in pixels; `reach` is at least `box_reach(sigma)`. Their sum is 1.

    A box of radius l + a is 2l + 1 equal weights and a share `a` of one more at either end. Gwosdek et al.,
    "Theoretical foundations of Gaussian convolution by extended box filtering" (2011), give l (equation 11)
    and a (equation 14); Pillow's BoxBlur.c takes them from there.
    """
    variance = sigma**2 / BOXES
    whole = box_reach(sigma) - 1
    share = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    radius = whole + share
    box = np.clip(radius + 1 - np.abs(np.arange(-reach, reach + 1)), 0, 1) / (2 * radius + 1)
    return np.convolve(np.convolve(box, box), box)


def box_reach(sigma: float) -> int:
    """Pixels to either side that one of the boxes touches."""
    return math.floor((math.sqrt(12 * sigma**2 / BOXES + 1) - 1) / 2) + 1


__all__ = ["box_blurred", "box_reach", "colour_transformed", "three_boxes"]
