"""One deterministic view of every image, for probes."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pipelines.image_check import READ_ERRORS, decode_rgb
from pipelines.manifest import Manifest
from pipelines.torchvision_views import Failure, undecodable
from pipelines.workers import worker_context, worker_start

SMALL = 64
"""Up to this side, in pixels, images are taken whole: sets of 32-pixel images have no border to crop away."""

Batch = tuple[torch.Tensor, torch.Tensor]


def eval_view(image: Image.Image, image_size: int) -> Image.Image:
    """S×S: the shorter side resized to round(S·256/224), then the central crop.

    As torchvision's evaluation transform. For S ≤ 64 and an image whose shorter side is no larger than S, it
    is resized straight to S×S.
    """
    if image_size <= SMALL and min(image.size) <= image_size:
        whole: Image.Image = F.resize(image, [image_size, image_size], F.InterpolationMode.BICUBIC)
        return whole
    resized = F.resize(image, [round(image_size * 256 / 224)], F.InterpolationMode.BICUBIC)
    centre: Image.Image = F.center_crop(resized, [image_size, image_size])
    return centre


class _Images(Dataset["tuple[torch.Tensor, int] | Failure"]):
    def __init__(self, manifest: Manifest, image_size: int) -> None:
        self._manifest = manifest
        self._side = image_size

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, index: int) -> "tuple[torch.Tensor, int] | Failure":
        path = self._manifest.path(index)
        try:
            image = decode_rgb(path)
        except READ_ERRORS as error:
            return Failure.of(path, error)
        return torch.from_numpy(np.array(eval_view(image, self._side))), self._manifest.labels[index]


def eval_batches(
    manifest: Manifest, *, image_size: int, batch_size: int, workers: int
) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of ((b, 3, S, S) uint8 channels_last, (b,) int64 labels) on the CPU, in the manifest's order,
    each image once.

    The last batch may be short. `workers` = 0 works in this process. Iterating again starts again. Raises
    DataError, naming the file, when one can no longer be decoded.
    """
    return _EvalBatches(manifest, image_size, batch_size, workers)


class _EvalBatches:
    def __init__(self, manifest: Manifest, image_size: int, batch_size: int, workers: int) -> None:
        self._loader: DataLoader[tuple[torch.Tensor, int] | Failure] = DataLoader(
            _Images(manifest, image_size),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=_collated,
            worker_init_fn=worker_start(),
            multiprocessing_context=worker_context(workers),
            generator=torch.Generator().manual_seed(0),  # else each iterator would draw from the global one
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, Failure):
                raise undecodable(batch)
            yield batch


def _collated(items: "list[tuple[torch.Tensor, int] | Failure]") -> "Batch | Failure":
    images, labels = [], []
    for item in items:
        if isinstance(item, Failure):
            return item
        images.append(item[0])
        labels.append(item[1])
    return torch.stack(images).permute(0, 3, 1, 2), torch.tensor(labels, dtype=torch.int64)
