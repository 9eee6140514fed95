"""The augmentations as data: the one truth that both back ends implement.

A view of an image is: bicubic random resized crop, horizontal flip, colour jitter (its four operations in a
random order), grey, Gaussian blur, solarize, in that order (official code: facebookresearch/vicreg
`augmentations.py:TrainTransform`). Crop boxes follow torchvision's `RandomResizedCrop.get_params`: area
uniform, aspect ratio log-uniform, ten attempts, then the largest central box whose ratio is allowed.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.view_parameters import JITTER_NAMES, PARAMETERS, Column, Vectors

CROP_ATTEMPTS = 10
ORDERS = np.array(list(itertools.permutations(range(len(JITTER_NAMES)))), dtype=np.float64)
"""(24, 4): every order of the jitter's operations."""
UNIFORMS = 2 * CROP_ATTEMPTS + 13
"""Random numbers that one view takes."""


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """The distribution of one view's parameters. Probabilities are in [0, 1]."""

    crop_area: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width ÷ height."""
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    """Factor uniform in [1 − b, 1 + b]; likewise contrast and saturation."""
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    """Uniform in [−h, h] turns."""
    gray: float = 0.2
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    solarize_threshold: int = 128
    """Values at or above it are inverted; 128 makes solarizing min(x, 255 − x), which both back ends rely
    on."""

    def __post_init__(self) -> None:
        if self.solarize_threshold != 128:
            raise ValueError("solarize_threshold: only 128 is implemented")

    def sample(self, uniforms_NU: Vectors, heights_N: Any, widths_N: Any) -> Vectors:
        """(N, PARAMETERS) float64: one view's parameters of each of N images.

        `uniforms_NU` (N, UNIFORMS) are random numbers in [0, 1), `heights_N` and `widths_N` the images'
        sizes in pixels.
        """
        crops, rest = uniforms_NU[:, : 2 * CROP_ATTEMPTS + 2], uniforms_NU[:, 2 * CROP_ATTEMPTS + 2 :].T
        vectors = np.empty((len(uniforms_NU), PARAMETERS))
        vectors[:, Column.TOP : Column.WIDTH + 1] = self._sample_crops(
            crops, np.asarray(heights_N, dtype=np.float64), np.asarray(widths_N, dtype=np.float64)
        )
        vectors[:, Column.FLIP] = rest[0] < self.flip
        vectors[:, Column.JITTER] = rest[1] < self.jitter
        reaches = (self.brightness, self.contrast, self.saturation, self.hue)
        for place, (reach, centre) in enumerate(zip(reaches, (1, 1, 1, 0), strict=True)):
            vectors[:, Column.FACTORS + place] = _between(centre - reach, centre + reach, rest[2 + place])
        vectors[:, Column.ORDER : Column.ORDER + len(JITTER_NAMES)] = ORDERS[
            (rest[6] * len(ORDERS)).astype(int)
        ]
        vectors[:, Column.GRAY] = rest[7] < self.gray
        vectors[:, Column.SIGMA] = np.where(rest[8] < self.blur, _between(*self.sigma, rest[9]), 0.0)
        vectors[:, Column.SOLARIZE] = rest[10] < self.solarize
        return vectors

    def _sample_crops(self, uniforms: Vectors, heights: Vectors, widths: Vectors) -> Vectors:
        """(N, 4): top, left, height, width."""
        heights, widths = heights[:, None], widths[:, None]
        low, high = self.crop_ratio
        area = _between(*self.crop_area, uniforms[:, :CROP_ATTEMPTS]) * heights * widths
        ratio = np.exp(
            _between(math.log(low), math.log(high), uniforms[:, CROP_ATTEMPTS : 2 * CROP_ATTEMPTS])
        )
        w, h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (w > 0) & (w <= widths) & (h > 0) & (h <= heights)
        # the last resort, as one attempt more that always fits
        whole = widths / heights
        most_h = np.where(whole < low, np.clip(np.rint(widths / low), 1, heights), heights)
        most_w = np.where(whole > high, np.clip(np.rint(heights * high), 1, widths), widths)
        first = np.where(fits.any(axis=1), fits.argmax(axis=1), CROP_ATTEMPTS)[:, None]
        h = np.take_along_axis(np.hstack((h, most_h)), first, axis=1)
        w = np.take_along_axis(np.hstack((w, most_w)), first, axis=1)
        place_y, place_x = uniforms[:, -2:-1], uniforms[:, -1:]
        central = first == CROP_ATTEMPTS
        top = np.where(central, (heights - h) // 2, np.floor(place_y * (heights - h + 1)))
        left = np.where(central, (widths - w) // 2, np.floor(place_x * (widths - w + 1)))
        return np.hstack((top, left, h, w))


def _between(low: float, high: float, uniform: Any) -> Any:
    return low + (high - low) * uniform


_SMALL = ViewSpec(crop_area=(0.2, 1.0), solarize=0.1)

AUGMENTATIONS: dict[str, tuple[ViewSpec, ViewSpec]] = {
    # facebookresearch/vicreg augmentations.py: `transform` and `transform_prime`
    "official": (ViewSpec(blur=1.0, solarize=0.0), ViewSpec(blur=0.1, solarize=0.2)),
    # solo-learn's VICReg configuration for CIFAR: the same in both views, without blur
    "small-images": (_SMALL, _SMALL),
}
"""By name, the specifications of view 1 and view 2."""
