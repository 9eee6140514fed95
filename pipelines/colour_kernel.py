"""What happens to a view after its crop, compiled by Numba: Pillow's arithmetic, so that every byte is
Pillow's.

Each function changes a view, (S, S, 3) uint8 and C-contiguous, in place. Where Pillow computes in C's float,
so does this, and nothing is contracted to fused instructions, which round otherwise: src/libImaging/Blend.c,
Convert.c and BoxBlur.c there.
"""

import math
from typing import Any

import numpy as np
from numba import njit

_ZERO, _MOST = np.float32(0), np.float32(255)
_RED, _GREEN, _BLUE, _HALF = np.int32(19595), np.int32(38470), np.int32(7471), np.int32(0x8000)
"""Of ITU-R 601-2's luma, in 1/65536."""
BOXES = 3
"""Box filters that make Pillow's Gaussian blur."""


@njit(cache=True, inline="always")
def _luma(red: int, green: int, blue: int) -> Any:
    return (np.int32(red) * _RED + np.int32(green) * _GREEN + np.int32(blue) * _BLUE + _HALF) >> np.int32(16)


@njit(cache=True, inline="always")
def _blend(degenerate: Any, value: int, factor: Any) -> Any:
    """Pillow's `Image.blend`: cut off, not rounded."""
    blended = degenerate + factor * (np.float32(value) - degenerate)
    return np.uint8(np.int32(min(max(blended, _ZERO), _MOST)))


@njit(cache=True)
def _blend_all(view_SS3: Any, degenerate: float, factor: float) -> None:
    values, level, share = view_SS3.reshape(view_SS3.size), np.float32(degenerate), np.float32(factor)
    for i in range(values.size):
        values[i] = _blend(level, values[i], share)


@njit(cache=True)
def brightness(view_SS3: Any, factor: float) -> None:
    _blend_all(view_SS3, 0.0, factor)


@njit(cache=True, error_model="numpy")
def contrast(view_SS3: Any, factor: float) -> None:
    """About the mean luma, rounded."""
    pixels = view_SS3.reshape(view_SS3.shape[0] * view_SS3.shape[1], 3)
    total = 0
    for i in range(pixels.shape[0]):
        total += _luma(pixels[i, 0], pixels[i, 1], pixels[i, 2])
    _blend_all(view_SS3, int(total / pixels.shape[0] + 0.5), factor)


@njit(cache=True)
def saturation(view_SS3: Any, factor: float) -> None:
    pixels = view_SS3.reshape(view_SS3.shape[0] * view_SS3.shape[1], 3)
    share = np.float32(factor)
    for i in range(pixels.shape[0]):
        red, green, blue = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        luma = np.float32(_luma(red, green, blue))
        pixels[i, 0] = _blend(luma, red, share)
        pixels[i, 1] = _blend(luma, green, share)
        pixels[i, 2] = _blend(luma, blue, share)


@njit(cache=True)
def gray(view_SS3: Any) -> None:
    pixels = view_SS3.reshape(view_SS3.shape[0] * view_SS3.shape[1], 3)
    for i in range(pixels.shape[0]):
        luma = np.uint8(_luma(pixels[i, 0], pixels[i, 1], pixels[i, 2]))
        pixels[i, 0] = luma
        pixels[i, 1] = luma
        pixels[i, 2] = luma


@njit(cache=True)
def solarize(view_SS3: Any) -> None:
    values = view_SS3.reshape(view_SS3.size)
    for i in range(values.size):
        values[i] = min(values[i], np.uint8(255) - values[i])


@njit(cache=True, error_model="numpy")
def hue(view_SS3: Any, turns: float) -> None:
    """Of Pillow's HSV: three bytes, of which the first is moved on by a whole number."""
    pixels = view_SS3.reshape(view_SS3.shape[0] * view_SS3.shape[1], 3)
    shift = np.int32(turns * 255) & 255
    f32, i32 = np.float32, np.int32
    for i in range(pixels.shape[0]):
        red, green, blue = f32(pixels[i, 0]), f32(pixels[i, 1]), f32(pixels[i, 2])
        most, least = max(red, max(green, blue)), min(red, min(green, blue))
        chroma = most - least
        step = max(chroma, f32(1))
        r, g, b = (most - red) / step, (most - green) / step, (most - blue) / step
        sixths = np.float64(b - g)
        if red != most:
            sixths = 4.0 + np.float64(g) - np.float64(r)
            if green == most:
                sixths = 2.0 + np.float64(r) - np.float64(b)
        turn = np.float64(f32(sixths)) / 6.0 + 1.0
        if turn >= 1.0:
            turn -= 1.0
        moved = (i32(np.float64(f32(turn)) * 255.0) + shift) & 255
        saturated = f32(i32(np.float64(chroma / max(most, f32(1))) * 255.0)) / f32(255)
        place = np.float64(f32(moved)) * 6.0 / 255.0
        sector = i32(place)
        rest = f32(place - np.float64(sector))
        value = np.float64(most)
        low = f32(i32(value * (1.0 - np.float64(saturated)) + 0.5))
        down = f32(i32(value * (1.0 - np.float64(saturated * rest)) + 0.5))
        up = f32(i32(value * (1.0 - np.float64(saturated) * (1.0 - np.float64(rest))) + 0.5))
        if sector == 6:
            sector = i32(0)
        slope = down if sector & 1 else up
        pixels[i, 0] = np.uint8(
            i32(most if (sector == 0 or sector == 5) else (low if (sector == 2 or sector == 3) else slope))
        )
        pixels[i, 1] = np.uint8(
            i32(most if (sector == 1 or sector == 2) else (low if (sector == 4 or sector == 5) else slope))
        )
        pixels[i, 2] = np.uint8(
            i32(most if (sector == 3 or sector == 4) else (low if (sector == 0 or sector == 1) else slope))
        )


@njit(cache=True)
def _box_weights(sigma: float) -> Any:
    """Of one of BOXES extended box filters: whole pixels to either side, and in 1/2^24 the weight of each of
    those and of the one beyond.

    Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (2011),
    equations 7, 11 and 14, with C's roundings in Pillow's `_gaussian_blur_radius`.
    """
    f32 = np.float32
    variance = f32(sigma) * f32(sigma) / f32(BOXES)
    length = f32(math.sqrt(12.0 * np.float64(variance) + 1.0))
    whole = f32(math.floor((np.float64(length) - 1.0) / 2.0))
    one, two, three, six = f32(1), f32(2), f32(3), f32(6)
    share = (two * whole + one) * (whole * (whole + one) - three * variance)
    share /= six * (variance - (whole + one) * (whole + one))
    radius = whole + share
    reach = int(radius)
    weight = int(f32(2**24) / (radius * two + one))
    return reach, np.uint32(weight), np.uint32((2**24 - (2 * reach + 1) * weight) // 2)


@njit(cache=True)
def _box_down(out_NM: Any, values_NM: Any, sums_M: Any, reach: int, weight: Any, beyond: Any) -> None:
    """One box filter of each column; beyond the edge is the edge's value."""
    last, columns = values_NM.shape[0] - 1, values_NM.shape[1]
    sums_M[:] = np.uint32(0)
    for k in range(-reach - 1, reach):
        row = values_NM[min(max(k, 0), last)]
        for j in range(columns):
            sums_M[j] += np.uint32(row[j])
    half, bits = np.uint32(2**23), np.uint32(24)
    for y in range(last + 1):
        out, leaving = out_NM[y], values_NM[max(y - reach - 1, 0)]
        entering, after = values_NM[min(y + reach, last)], values_NM[min(y + reach + 1, last)]
        for j in range(columns):
            total = np.uint32(sums_M[j] + np.uint32(entering[j]) - np.uint32(leaving[j]))
            sums_M[j] = total
            ends = np.uint32(np.uint32(leaving[j]) + np.uint32(after[j]))
            out[j] = np.uint8(np.uint32(total * weight + ends * beyond + half) >> bits)


@njit(cache=True)
def _transpose(out_SS3: Any, view_SS3: Any) -> None:
    for y in range(view_SS3.shape[0]):
        for x in range(view_SS3.shape[1]):
            for channel in range(3):
                out_SS3[x, y, channel] = view_SS3[y, x, channel]


@njit(cache=True)
def blur(view_SS3: Any, sigma: float) -> None:
    """Pillow's `GaussianBlur(sigma)`, sigma in pixels: box filters along the rows, then along the columns,
    each rounded to bytes."""
    reach, weight, beyond = _box_weights(sigma)
    size = view_SS3.shape[0]
    scratch_SS3 = np.empty_like(view_SS3)
    view, scratch = view_SS3.reshape(size, 3 * size), scratch_SS3.reshape(size, 3 * size)
    sums = np.empty(3 * size, np.uint32)
    for _ in range(2):
        _transpose(scratch_SS3, view_SS3)
        _box_down(view, scratch, sums, reach, weight, beyond)
        _box_down(scratch, view, sums, reach, weight, beyond)
        _box_down(view, scratch, sums, reach, weight, beyond)
