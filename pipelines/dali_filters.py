"""The colour matrix and the blur on a CPU, as correlations: `fn.filter` is OpenCV's, which is vectorised.

DALI's own CPU operators for both convert one value at a time: on 224² pixels its matrix takes 1.4 ms and its
Gaussian blur 1.7 to 3.1 ms, and these 0.5 ms each (docs/PIPELINES.md).
"""

import math

import numpy as np

from pipelines.dali_modules import Node, constant, dali_math, fn, types

BOXES = 3
"""Box filters that make Pillow's Gaussian blur."""


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
    """(S, S, 3) uint8: Pillow's `GaussianBlur(sigma)`, `sigma` at most `most` pixels: three equal box
    filters of fractional radius, here as one kernel an axis. Beyond the edge is the edge's value, as in
    Pillow."""
    kernel = _three_boxes(sigma, most)
    for shape in ([1, -1], [-1, 1]):
        view = fn.filter(view, fn.reshape(kernel, shape=shape), border="clamp")
    return view


def _three_boxes(sigma: Node, most: float) -> Node:
    """(2·3·R + 1,) float32, its sum 1; R pixels are what the largest box reaches.

    A box of radius l + a is 2l + 1 equal weights and a share `a` of one more at either end. Gwosdek et al.,
    "Theoretical foundations of Gaussian convolution by extended box filtering" (2011), give l (eq. 11) and a
    (eq. 14) by the variance; Pillow's BoxBlur.c takes them from there.
    """
    reach = math.floor((math.sqrt(4 * most**2 + 1) - 1) / 2) + 1
    places = np.arange(2 * BOXES * reach + 1)
    variance = sigma * sigma / float(BOXES)
    whole = dali_math.floor((dali_math.sqrt(12.0 * variance + 1.0) - 1.0) * 0.5)
    beyond = (whole + 1.0) * (whole + 1.0)
    share = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance) / (6.0 * (variance - beyond))
    radius = whole + share
    distance = constant(np.abs(places[:, None] - places))
    box = dali_math.clamp(radius + 1.0 - distance, 0.0, 1.0) / (2.0 * radius + 1.0)
    kernel = box[BOXES * reach]
    for _ in range(BOXES - 1):
        kernel = fn.reductions.sum(box * kernel, axes=[1])
    return kernel


__all__ = ["box_blurred", "colour_transformed"]
