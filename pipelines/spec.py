"""The augmentations as data: the one truth that both back ends implement.

A view of an image is: bicubic random resized crop, horizontal flip, colour jitter (its four operations in a
random order), grey, Gaussian blur, solarize, in that order (official code: facebookresearch/vicreg
`augmentations.py:TrainTransform`). Crop boxes follow torchvision's `RandomResizedCrop.get_params`: area
uniform, aspect ratio log-uniform, ten attempts, then the largest central box whose ratio is allowed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

JitterName = Literal["brightness", "contrast", "saturation", "hue"]
JITTER_NAMES: tuple[JitterName, ...] = ("brightness", "contrast", "saturation", "hue")
CROP_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class ViewParameters:
    """What happens to one view of one image: every random choice, made."""

    crop: tuple[int, int, int, int]
    """(top, left, height, width) in pixels of the decoded image."""
    flip: bool
    jitter: tuple[tuple[JitterName, float], ...] | None
    """The operations in the order they apply, with factors: 1 leaves brightness, contrast and saturation
    as they are; hue is in turns of the colour circle, in [−0.5, 0.5], and 0 leaves it."""
    gray: bool
    sigma: float | None
    """Of the Gaussian blur, in pixels of the view; None does not blur."""
    solarize: bool


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

    def sample(self, generator: torch.Generator, height: int, width: int) -> ViewParameters:
        """One view's parameters for an image of that size in pixels; only `generator` (of the CPU) is
        drawn from."""
        uniform = iter(torch.rand(2 * CROP_ATTEMPTS + 12, generator=generator, dtype=torch.float64).tolist())
        crop = self._sample_crop([next(uniform) for _ in range(2 * CROP_ATTEMPTS + 2)], height, width)
        flip = next(uniform) < self.flip
        jittered = next(uniform) < self.jitter
        factors: dict[JitterName, float] = {
            "brightness": _between(1 - self.brightness, 1 + self.brightness, next(uniform)),
            "contrast": _between(1 - self.contrast, 1 + self.contrast, next(uniform)),
            "saturation": _between(1 - self.saturation, 1 + self.saturation, next(uniform)),
            "hue": _between(-self.hue, self.hue, next(uniform)),
        }
        gray = next(uniform) < self.gray
        blurred = next(uniform) < self.blur
        sigma = _between(*self.sigma, next(uniform))
        solarize = next(uniform) < self.solarize
        order = torch.randperm(len(JITTER_NAMES), generator=generator).tolist()
        names = [JITTER_NAMES[place] for place in order]
        return ViewParameters(
            crop=crop,
            flip=flip,
            jitter=tuple((name, factors[name]) for name in names) if jittered else None,
            gray=gray,
            sigma=sigma if blurred else None,
            solarize=solarize,
        )

    def _sample_crop(self, uniform: list[float], height: int, width: int) -> tuple[int, int, int, int]:
        place_y, place_x = uniform[-2:]
        low, high = math.log(self.crop_ratio[0]), math.log(self.crop_ratio[1])
        for attempt in range(CROP_ATTEMPTS):
            area = _between(*self.crop_area, uniform[2 * attempt]) * height * width
            ratio = math.exp(_between(low, high, uniform[2 * attempt + 1]))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(place_y * (height - h + 1)), int(place_x * (width - w + 1))
                return top, left, h, w
        w, h = width, height
        if width / height < self.crop_ratio[0]:
            h = max(1, min(height, round(width / self.crop_ratio[0])))
        elif width / height > self.crop_ratio[1]:
            w = max(1, min(width, round(height * self.crop_ratio[1])))
        return (height - h) // 2, (width - w) // 2, h, w


def _between(low: float, high: float, uniform: float) -> float:
    return low + (high - low) * uniform


_SMALL = ViewSpec(crop_area=(0.2, 1.0), solarize=0.1)

AUGMENTATIONS: dict[str, tuple[ViewSpec, ViewSpec]] = {
    # facebookresearch/vicreg augmentations.py: `transform` and `transform_prime`
    "official": (ViewSpec(blur=1.0, solarize=0.0), ViewSpec(blur=0.1, solarize=0.2)),
    # solo-learn's VICReg configuration for CIFAR: the same in both views, without blur
    "small-images": (_SMALL, _SMALL),
}
"""By name, the specifications of view 1 and view 2."""
