"""Crop, flip and bicubic resize of one image, compiled by Numba: Pillow's `crop` and `resize(BICUBIC)`,
to the byte.

Output pixel i of an axis is the mean of the pixels k of the crop, weighted by b((k + ½ − c) / s), with
c = (i + ½)·r, r = crop ÷ size, s = max(r, 1) and b the cubic of Keys with a = −½: Pillow's
`precompute_coeffs` (src/libImaging/Resample.c). As there, weights are whole multiples of 2^−22, and one axis
is filtered and rounded to bytes before the other: rows first, but since Pillow 13 columns first where the
height shrinks by more than twice what the width does.

Both axes are filtered along vectors: columns along the pixels of a row, and rows along ROWS rows side by
side, which a transposed copy makes neighbours in memory.
"""

import math
from typing import Any

import numpy as np
from numba import njit

ROWS = 16
"""Rows that are filtered side by side: one or two vectors of int32."""
_BITS = 22
"""Of a weight's fraction."""
_HALF, _SHIFT, _LEAST, _MOST = np.int32(2 ** (_BITS - 1)), np.int32(_BITS), np.int32(0), np.int32(255)


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
    """For each of `size` outputs the first input, how many there are, and their weights, which sum to 2^_BITS
    but for rounding."""
    ratio = extent / size
    stretch = max(ratio, 1.0)
    support = 2.0 * stretch
    first_S = np.empty(size, np.int64)
    count_S = np.empty(size, np.int64)
    weight_SK = np.zeros((size, 2 * math.ceil(support) + 1), np.int32)
    for i in range(size):
        centre = (i + 0.5) * ratio
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), extent)
        total = 0.0
        for k in range(low, high):
            total += _cubic((k - centre + 0.5) * (1.0 / stretch))
        for k in range(low, high):
            weight = _cubic((k - centre + 0.5) * (1.0 / stretch)) / total * 2**_BITS
            weight_SK[i, k - low] = np.int32(weight - 0.5 if weight < 0 else weight + 0.5)
        first_S[i], count_S[i] = low, high - low
    return first_S, count_S, weight_SK


@njit(cache=True)
def _filter_rows(out: Any, image: Any, top: int, begin: int, width: int, flip: bool) -> None:
    """`out`, (N, 3·S), from as many rows of `image` from `top` on, each of `width` pixels from value `begin`
    on."""
    size = out.shape[1] // 3
    first_x, count_x, weight_x = _taps(width, size)
    pixel_rows = np.zeros((3 * width, ROWS), np.int32)
    sums = np.empty((3, ROWS), np.int32)
    for base in range(0, out.shape[0], ROWS):
        rows = min(ROWS, out.shape[0] - base)
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
                    out[base + r, 3 * column + channel] = np.uint8(
                        min(max(sums[channel, r] >> _SHIFT, _LEAST), _MOST)
                    )


@njit(cache=True)
def _filter_columns(out: Any, image: Any, top: int, begin: int, height: int) -> None:
    """`out`, (S, M), from `height` rows of `image` from `top` on, each of M values from `begin` on."""
    first_y, count_y, weight_y = _taps(height, out.shape[0])
    line = np.empty(out.shape[1], np.int32)
    for y in range(out.shape[0]):
        line[:] = _HALF
        for k in range(count_y[y]):
            weight, source = weight_y[y, k], image[top + first_y[y] + k]
            for j in range(line.size):
                line[j] += weight * np.int32(source[begin + j])
        for j in range(line.size):
            out[y, j] = np.uint8(min(max(line[j] >> _SHIFT, _LEAST), _MOST))


@njit(cache=True)
def resized_crop(
    out_SS3: Any, image_HW3: Any, top: int, left: int, height: int, width: int, flip: bool
) -> None:
    """Fills `out_SS3`, (S, S, 3) uint8, with the crop of `image_HW3`, (H, W, 3) uint8, mirrored left to right
    if `flip`. Both are C-contiguous, and the crop lies within the image: neither is checked.
    """
    size = out_SS3.shape[0]
    image = image_HW3.reshape(image_HW3.shape[0], image_HW3.shape[1] * 3)
    out = out_SS3.reshape(size, size * 3)
    if height - size > 2 * max(width - size, 0):
        shortened = np.empty((size, 3 * width), np.uint8)
        _filter_columns(shortened, image, top, 3 * left, height)
        _filter_rows(out, shortened, 0, 0, width, flip)
    else:
        narrowed = np.empty((height, 3 * size), np.uint8)
        _filter_rows(narrowed, image, top, 3 * left, width, flip)
        _filter_columns(out, narrowed, 0, 0, height)
