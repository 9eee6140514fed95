"""A representation's whole evaluation: linear probe and nearest neighbours, of a trunk or of a floor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe
from vicreg_fast.errors import DataError
from vicreg_fast.evaluation.features import Features, Images, extract_features, load_images, pixel_features
from vicreg_fast.evaluation.knn import knn_accuracy
from vicreg_fast.evaluation.linear_probe import ProbeResult, linear_probe
from vicreg_fast.evaluation.neighbours import Nearest, nearest_images
from vicreg_fast.model import build_network

Queries = Callable[[tuple[int, ...]], tuple[int, ...]]
"""From the probe's prediction for every test image to the test images whose neighbours are wanted."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracies in [0, 1]."""

    linear: ProbeResult
    knn_top1: float
    queries: tuple[int, ...] = ()
    """Indices of test images."""
    nearest: tuple[tuple[Nearest, ...], ...] = ()
    """Of each query, training images, the most similar first."""


class EvaluationSet:
    """A labelled data set, decoded once at the probe's size, on which any number of representations are
    evaluated.

    Classes are matched by name, so that a test split may lack some. Raises DataError when it has one that the
    training split lacks, or an image cannot be read.
    """

    def __init__(
        self, train: Manifest, test: Manifest, *, image_size: int, workers: int, device: torch.device
    ) -> None:
        unknown = sorted(set(test.classes) - set(train.classes))
        if unknown:
            raise DataError(
                f"{test.root}: class {unknown[0]!r} is not in {train.root}; "
                "give both splits the same class folders"
            )
        self.classes = len(train.classes)
        self.device = device
        self.train: Images = load_images(train, image_size=image_size, workers=workers)
        images, labels = load_images(test, image_size=image_size, workers=workers)
        if test.classes:
            labels = torch.tensor([train.classes.index(name) for name in test.classes])[labels]
        self.test = Images(images, labels)

    def trunk(self, backbone: nn.Module, *, queries: Queries | None = None) -> Evaluation:
        """Of a frozen backbone on `device`; with the nearest training images of `queries`, as for each of
        these methods."""
        return self._evaluated(
            extract_features(backbone, self.train, self.device),
            extract_features(backbone, self.test, self.device),
            queries,
        )

    def random_trunk(self, recipe: Recipe, *, queries: Queries | None = None) -> Evaluation:
        """Of the recipe's backbone as its seed initialises it: what the architecture gives by itself."""
        torch.manual_seed(recipe.seed)
        return self.trunk(build_network(recipe).backbone.to(self.device), queries=queries)

    def raw_pixels(self, *, queries: Queries | None = None) -> Evaluation:
        """Of the images themselves, at 16×16."""
        return self._evaluated(pixel_features(self.train), pixel_features(self.test), queries)

    def _evaluated(self, train: Features, test: Features, queries: Queries | None) -> Evaluation:
        linear = linear_probe(train, test, self.classes, device=self.device)
        wanted = queries(linear.predicted) if queries is not None else ()
        return Evaluation(
            linear=linear,
            knn_top1=knn_accuracy(train, test, self.classes, device=self.device),
            queries=wanted,
            nearest=nearest_images(train, test, wanted, device=self.device),
        )
