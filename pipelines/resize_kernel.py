"""Crop, flip and bicubic resize of one image, compiled by Numba: Pillow's `crop` and `resize(BICUBIC)`.

Output pixel i of an axis is the mean of the pixels k of the crop, weighted by b((k + ½ − c) / s), with
c = (i + ½)·r, r = crop ÷ size, s = max(r, 1) and b the cubic of Keys with a = −½: Pillow's
`precompute_coeffs` (src/libImaging/Resample.c). As there, rows are filtered first and rounded to bytes, then
columns; Pillow's weights have 22 bits and these 24, so that a pixel in some thousands differs by one. (Pillow
13 takes the columns of some tall crops first.)

Both axes are filtered along vectors: columns along the pixels of a row, and rows along ROWS rows side by
side, which a transposed copy makes neighbours in memory.
"""

import math
from typing import Any

import numpy as np
from numba import njit

ROWS = 16
"""Rows that are filtered side by side: one or two vectors of float32."""
_HALF, _LEAST, _MOST = np.float32(0.5), np.float32(0), np.float32(255)


@njit(cache=True)
def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    if x < 2.0:
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return 0.0


@njit(cache=True)
def _taps(extent: int, size: int) -> Any:
    """For each of `size` outputs the first input, how many there are, and their weights, which sum to 1."""
    ratio = extent / size
    stretch = max(ratio, 1.0)
    support = 2.0 * stretch
    first_S = np.empty(size, np.int64)
    count_S = np.empty(size, np.int64)
    weight_SK = np.zeros((size, 2 * math.ceil(support) + 1), np.float32)
    for i in range(size):
        centre = (i + 0.5) * ratio
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), extent)
        total = 0.0
        for k in range(low, high):
            total += _cubic((k - centre + 0.5) / stretch)
        for k in range(low, high):
            weight_SK[i, k - low] = _cubic((k - centre + 0.5) / stretch) / total
        first_S[i], count_S[i] = low, high - low
    return first_S, count_S, weight_SK


# "contract" lets a product and a sum be one instruction; no sum changes its order
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def resized_crop(
    out_SS3: Any, image_HW3: Any, top: int, left: int, height: int, width: int, flip: bool
) -> None:
    """Fills `out_SS3`, (S, S, 3) uint8, with the crop of `image_HW3`, (H, W, 3) uint8, mirrored left to right
    if `flip`. Both are C-contiguous, and the crop lies within the image: neither is checked.
    """
    size = out_SS3.shape[0]
    first_y, count_y, weight_y = _taps(height, size)
    first_x, count_x, weight_x = _taps(width, size)
    image = image_HW3.reshape(image_HW3.shape[0], image_HW3.shape[1] * 3)
    out = out_SS3.reshape(size, size * 3)
    begin = 3 * left
    pixel_rows = np.empty((3 * width, ROWS), np.float32)
    narrowed = np.empty((height, 3 * size), np.uint8)
    sums = np.empty((3, ROWS), np.float32)
    for base in range(0, height, ROWS):
        rows = min(ROWS, height - base)
        for r in range(rows):
            source = image[top + base + r]
            for j in range(3 * width):
                pixel_rows[j, r] = source[begin + j]
        for x in range(size):
            sums[:] = _HALF  # so that cutting rounds
            for k in range(count_x[x]):
                weight = weight_x[x, k]
                for channel in range(3):
                    values = pixel_rows[3 * (first_x[x] + k) + channel]
                    for r in range(ROWS):
                        sums[channel, r] += weight * values[r]
            column = size - 1 - x if flip else x
            for r in range(rows):
                for channel in range(3):
                    narrowed[base + r, 3 * column + channel] = np.uint8(
                        min(max(sums[channel, r], _LEAST), _MOST)
                    )
    line = np.empty(3 * size, np.float32)
    for y in range(size):
        line[:] = _HALF
        for k in range(count_y[y]):
            weight, source = weight_y[y, k], narrowed[first_y[y] + k]
            for j in range(3 * size):
                line[j] += weight * np.float32(source[j])
        for j in range(3 * size):
            out[y, j] = np.uint8(min(max(line[j], _LEAST), _MOST))
