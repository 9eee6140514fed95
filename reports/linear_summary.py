"""What a linear evaluation's counts come to: intervals, differences to the floors, classes and their
confusions."""

import math
from dataclasses import dataclass
from pathlib import Path

from bench.compare import Interval
from vicreg_fast.evaluation.result import LinearResult, SubjectResult, is_result

NAMES = {"backbone": "pretrained trunk", "random-trunk": "untrained trunk", "raw-pixels": "raw pixels"}
Z = 1.959964
"""Of a 95 % interval."""


def is_linear(path: Path) -> bool:
    """Whether it is a file of `vicreg-fast linear`."""
    return path.is_file() and is_result(path)


def spoken(subject: str) -> str:
    return NAMES.get(subject, subject)


def wilson(share: float, count: int) -> Interval:
    """95 % score interval of a share of `count` images (Wilson 1927)."""
    if count == 0:
        return Interval(estimate=share, low=0.0, high=1.0, samples=0)
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * math.sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2) / (1 + Z**2 / count)
    return Interval(estimate=share, low=max(0.0, centre - half), high=min(1.0, centre + half), samples=count)


def gain(floor: SubjectResult, count: int) -> Interval | None:
    """The trunk's accuracy minus the floor's on the same `count` test images, with the 95 % interval of
    paired shares (Agresti and Min 2005: half an image is added to each of the four cells). None where the
    result does not have the pairs.
    """
    ours, theirs = floor.only_backbone_right, floor.only_this_right
    if ours is None or theirs is None or count == 0:
        return None
    b, c, n = ours + 0.5, theirs + 0.5, count + 2
    half = Z * math.sqrt(b + c - (b - c) ** 2 / n) / n
    middle = (b - c) / n
    return Interval(
        estimate=(ours - theirs) / count,
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
        samples=count,
    )


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    number: int
    """Index into the result's classes."""
    images: int
    """In the test set."""
    right: int

    @property
    def share(self) -> float:
        """NaN without images."""
        return self.right / self.images if self.images else math.nan


def class_accuracies(result: SubjectResult) -> tuple[ClassAccuracy, ...]:
    """One a class, in the classes' order."""
    return tuple(
        ClassAccuracy(number=number, images=sum(row), right=row[number])
        for number, row in enumerate(result.confusion)
    )


@dataclass(frozen=True, kw_only=True)
class Confusion:
    true: int
    predicted: int
    count: int
    images: int
    """Test images of the true class."""


def most_confused(result: SubjectResult, most: int) -> tuple[Confusion, ...]:
    """Pairs of different classes by the count of test images, the most first."""
    found = [
        Confusion(true=true, predicted=predicted, count=count, images=sum(row))
        for true, row in enumerate(result.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.count, pair.true, pair.predicted))[:most])


def floors_of(result: LinearResult) -> dict[str, SubjectResult]:
    return {name: value for name, value in result.results.items() if name != "backbone"}
