"""The loader as the authors' code has it: torchvision's stock transforms to normalised float views, in
DataLoader workers.

Source: facebookresearch/vicreg, augmentations.py:TrainTransform and main_vicreg.py:main. Only for timing: it
draws from the global random state of its workers and cannot be resumed. Our own torchvision pipeline
(`pipelines.torchvision_views`) hands over bytes and gathers them without a second copy, and is the faster of
the two.
"""

from collections.abc import Iterator

import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pipelines.contract import ViewBatch
from pipelines.manifest import Manifest
from pipelines.spec import AUGMENTATIONS, ViewSpec
from pipelines.workers import prepare_worker, worker_context
from vicreg_fast.model.normalize import MEAN, STD


class _Blur:
    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(()) >= self.spec.blur:
            return image
        low, high = self.spec.sigma
        return image.filter(ImageFilter.GaussianBlur(float(torch.empty(()).uniform_(low, high))))


class _Solarize:
    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec

    def __call__(self, image: Image.Image) -> Image.Image:
        return ImageOps.solarize(image) if torch.rand(()) < self.spec.solarize else image


def stock_transform(spec: ViewSpec, image_size: int) -> transforms.Compose:
    """PIL image → (3, S, S) float32, normalised."""
    jitter = transforms.ColorJitter(spec.brightness, spec.contrast, spec.saturation, spec.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                image_size,
                scale=spec.crop_area,
                ratio=spec.crop_ratio,
                interpolation=transforms.InterpolationMode.BICUBIC,
            ),
            transforms.RandomHorizontalFlip(spec.flip),
            transforms.RandomApply([jitter], spec.jitter),
            transforms.RandomGrayscale(spec.gray),
            _Blur(spec),
            _Solarize(spec),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class _Images(Dataset[tuple[Tensor, Tensor, int]]):
    def __init__(self, manifest: Manifest, augmentation: str, image_size: int) -> None:
        self.manifest = manifest
        self.views = [stock_transform(spec, image_size) for spec in AUGMENTATIONS[augmentation]]

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        with Image.open(self.manifest.path(index)) as file:
            image = file.convert("RGB")
        return self.views[0](image), self.views[1](image), self.manifest.labels[index]


class StockViews:
    """An endless stream of (n, 3, S, S) float32 views, as the authors' loader makes them. Close it when
    done."""

    name = "torchvision-stock"

    def __init__(
        self, manifest: Manifest, *, augmentation: str, image_size: int, batch_size: int, workers: int
    ) -> None:
        manifest.require_batch(batch_size)
        self._loader: DataLoader[tuple[Tensor, Tensor, int]] | None = DataLoader(
            _Images(manifest, augmentation, image_size),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
            multiprocessing_context=worker_context(workers),
        )

    def __iter__(self) -> Iterator[ViewBatch]:
        while self._loader is not None:
            for view_1, view_2, label in self._loader:
                yield ViewBatch(view_1, view_2, label)

    def close(self) -> None:
        self._loader = None
