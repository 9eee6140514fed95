"""The parameters of one view: every random choice, made. By name, and as the vector that kernels take."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, Self

import numpy as np

JitterName = Literal["brightness", "contrast", "saturation", "hue"]
JITTER_NAMES: tuple[JitterName, ...] = ("brightness", "contrast", "saturation", "hue")

Vectors = np.ndarray[Any, np.dtype[np.float64]]


class Column(IntEnum):
    """What a place of the vector holds. Flags are 0 or 1."""

    TOP = 0
    LEFT = 1
    HEIGHT = 2
    WIDTH = 3
    FLIP = 4
    JITTER = 5
    ORDER = 6
    """Of four: which of JITTER_NAMES comes first, second and so on, as its place there; −1 for none."""
    FACTORS = 10
    """Of four: the factors, in the order of JITTER_NAMES; hue is in turns."""
    GRAY = 14
    SIGMA = 15
    """0 does not blur."""
    SOLARIZE = 16


PARAMETERS = len(Column) + 2 * (len(JITTER_NAMES) - 1)
"""Numbers of a vector."""


@dataclass(frozen=True, kw_only=True)
class ViewParameters:
    """What happens to one view of one image."""

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

    @classmethod
    def of(cls, vector: Vectors) -> Self:
        """Of a vector, (PARAMETERS,)."""
        top, left, height, width = (int(value) for value in vector[Column.TOP : Column.WIDTH + 1])
        factors = vector[Column.FACTORS : Column.FACTORS + len(JITTER_NAMES)].tolist()
        order = vector[Column.ORDER : Column.ORDER + len(JITTER_NAMES)].astype(int).tolist()
        return cls(
            crop=(top, left, height, width),
            flip=bool(vector[Column.FLIP]),
            jitter=tuple((JITTER_NAMES[place], factors[place]) for place in order if place >= 0)
            if vector[Column.JITTER]
            else None,
            gray=bool(vector[Column.GRAY]),
            sigma=float(vector[Column.SIGMA]) or None,
            solarize=bool(vector[Column.SOLARIZE]),
        )

    def vector(self) -> Vectors:
        """(PARAMETERS,) float64."""
        factors = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | dict(
            self.jitter or ()
        )
        named = [JITTER_NAMES.index(name) for name, _ in self.jitter or ()]
        order = named + [-1] * (len(JITTER_NAMES) - len(named))
        values = (
            *self.crop, self.flip, self.jitter is not None, *order,
            *(factors[name] for name in JITTER_NAMES), self.gray, self.sigma or 0.0, self.solarize,
        )  # fmt: skip
        return np.array(values, dtype=np.float64)
