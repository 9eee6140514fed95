"""One view's parameters as a row of numbers, which is how they reach the compiled kernel."""

from enum import IntEnum
from typing import Any

import numpy as np

from pipelines.spec import JITTER_NAMES, ViewParameters

PARAMETERS = 17
"""Numbers that describe a view."""
NO_OPERATION = -1
"""In the jitter's order. No factor of hue says it: to turn by 0 still rounds to HSV and back."""


class Column(IntEnum):
    """Where each number is. What happens or does not is 1 or 0."""

    TOP = 0
    """Of the crop, in whole pixels of the decoded image; likewise the next three."""
    LEFT = 1
    HEIGHT = 2
    WIDTH = 3
    FLIP = 4
    JITTER = 5
    ORDER = 6
    """Four: which of spec.JITTER_NAMES comes first, second, third, fourth; NO_OPERATION where
    there are fewer."""
    FACTORS = 10
    """Four, in the order of spec.JITTER_NAMES; that of hue is in turns."""
    GRAY = 14
    SIGMA = 15
    """In pixels of the view; 0 does not blur."""
    SOLARIZE = 16


def as_vector(parameters: ViewParameters) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(PARAMETERS,) float64."""
    row = np.zeros(PARAMETERS)
    row[Column.TOP : Column.WIDTH + 1] = parameters.crop
    row[Column.FLIP] = parameters.flip
    row[Column.JITTER] = parameters.jitter is not None
    row[Column.ORDER : Column.FACTORS] = NO_OPERATION
    for place, (name, factor) in enumerate(parameters.jitter or ()):
        operation = JITTER_NAMES.index(name)
        row[Column.ORDER + place] = operation
        row[Column.FACTORS + operation] = factor
    row[Column.GRAY] = parameters.gray
    row[Column.SIGMA] = parameters.sigma or 0.0
    row[Column.SOLARIZE] = parameters.solarize
    return row
