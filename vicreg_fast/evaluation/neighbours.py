"""Which training images a representation takes for the most similar to some test images: what a person can
judge by eye."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vicreg_fast.evaluation.features import Features

NEAREST = 5
MOST_CLASSES = 10
QUERY_RULE = (
    f"of up to {MOST_CLASSES} classes, evenly spaced in the order of their names, the first test image that "
    "the probe on the pretrained trunk gets right and the first that it gets wrong, in the order of the files"
)


class Nearest(NamedTuple):
    image: int
    """Index of a training image."""
    similarity: float
    """Cosine of the two images' features, in [−1, 1]."""


def choose_queries(labels: Tensor, predicted: Sequence[int], classes: int) -> tuple[int, ...]:
    """Test images by QUERY_RULE: at most two a class, right before wrong.

    labels: (M,) int64, of the test images, as is `predicted`.
    """
    count = min(classes, MOST_CLASSES)
    right = labels == torch.tensor(predicted)
    chosen = []
    for number in range(count):
        of_class = labels == (number * (classes - 1)) // max(1, count - 1)
        for found in (of_class & right, of_class & ~right):
            chosen += found.nonzero().flatten()[:1].tolist()
    return tuple(chosen)


def nearest_images(
    train: Features, test: Features, queries: Sequence[int], *, device: torch.device | str = "cpu"
) -> tuple[tuple[Nearest, ...], ...]:
    """Of each query, an index into `test`, the NEAREST images of `train` by cosine similarity."""
    if not queries:
        return ()
    bank = F.normalize(train.features.to(device), dim=1)
    wanted = F.normalize(test.features[list(queries)].to(device), dim=1)
    similarity, index = (wanted @ bank.T).topk(min(NEAREST, len(bank)), dim=1)
    return tuple(
        tuple(map(Nearest, *of_one)) for of_one in zip(index.tolist(), similarity.tolist(), strict=True)
    )
