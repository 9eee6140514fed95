"""Frozen features of a set's images: of a trunk, or of the raw pixels as a floor."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipelines.eval_images import eval_batches
from pipelines.manifest import Manifest
from vicreg_fast.model import Normalize

PIXEL_SIDE = 16
"""Raw pixels are a floor at this side: a linear classifier on more of them overfits a set of some thousand
images."""


class Images(NamedTuple):
    """A split, decoded once: probes of several networks see exactly the same images."""

    images: Tensor
    """(M, 3, S, S) uint8, on the CPU."""
    labels: Tensor
    """(M,) int64."""


class Features(NamedTuple):
    features: Tensor
    """(M, F) float32, on the CPU."""
    labels: Tensor
    """(M,) int64."""


def load_images(manifest: Manifest, *, image_size: int, workers: int) -> Images:
    """Every image of the split at `image_size` pixels, in the manifest's order. Raises DataError when one
    cannot be read."""
    parts = list(eval_batches(manifest, image_size=image_size, batch_size=256, workers=workers))
    return Images(torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    images: Images,
    device: torch.device,
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """The trunk's representation of each image, in fp32 and evaluation mode; the trunk's own mode is put back
    afterwards."""
    was_training = backbone.training
    backbone.eval()
    normalize = Normalize().to(device)
    parts = []
    try:
        for batch in images.images.split(batch_size):
            views = normalize(batch.to(device)).contiguous(memory_format=torch.channels_last)
            parts.append(backbone(views).float().cpu())
            if progress is not None:
                progress(len(batch))
    finally:
        backbone.train(was_training)
    return Features(torch.cat(parts), images.labels)


def pixel_features(images: Images) -> Features:
    """Raw pixels, shrunk to 16×16 and flattened: (M, 768). What a representation must beat."""
    side = min(PIXEL_SIDE, images.images.shape[-1])
    parts = [
        nn.functional.interpolate(batch.float(), size=(side, side), mode="bilinear", antialias=True).flatten(
            1
        )
        for batch in images.images.split(256)
    ]
    return Features(torch.cat(parts) / 255, images.labels)
