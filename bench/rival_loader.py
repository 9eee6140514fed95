"""The loader as the authors' code has it: torchvision's stock transforms to normalised float views, in
DataLoader workers.

Source: facebookresearch/vicreg, augmentations.py:TrainTransform and main_vicreg.py:main. Only for timing: it
draws from the global random state of its workers and cannot be resumed. Our own torchvision pipeline
(`pipelines.torchvision_views`) hands over bytes and gathers them without a second copy, and is the faster of
the two.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms

from pipelines.contract import ViewBatch
from pipelines.manifest import Manifest
from pipelines.spec import AUGMENTATIONS, ViewSpec
from pipelines.workers import WORKER_ENDED, worker_context, worker_ended, worker_start
from vicreg_fast.model.normalize import MEAN, STD

StockDecoder = Literal["pil", "pil-draft"]


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


def open_image(path: str, decoder: StockDecoder, image_size: int) -> Image.Image:
    """The RGB image; in draft mode a JPEG comes at the least of 1, 1/2, 1/4 and 1/8 of its size that is no
    smaller than a view."""
    with Image.open(path) as file:
        if decoder == "pil-draft":
            file.draft("RGB", (image_size, image_size))
        return file.convert("RGB")


class _Images(Dataset[tuple[Tensor, Tensor, int]]):
    def __init__(self, manifest: Manifest, augmentation: str, image_size: int, decoder: StockDecoder) -> None:
        self.manifest = manifest
        self.image_size = image_size
        self.decoder = decoder
        self.views = [stock_transform(spec, image_size) for spec in AUGMENTATIONS[augmentation]]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        image = open_image(self.manifest.path(index), self.decoder, self.image_size)
        return self.views[0](image), self.views[1](image), self.manifest.labels[index]


class _Endless(Sampler[int]):
    """One shuffled epoch after the other without a seam: a set for timing is small, and workers that wait at
    the end of each epoch would count against the loader as they never do over ImageNet."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.images).tolist()


class RivalViews:
    """An endless stream of two views of `dataset`'s images, gathered in DataLoader workers and then on
    `device`, with the dtype and the layout that the dataset gives. Close it when done."""

    def __init__(
        self,
        dataset: Dataset[tuple[Tensor, Tensor, int]],
        *,
        images: int,
        batch_size: int,
        workers: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._loader: DataLoader[tuple[Tensor, Tensor, int]] | None = DataLoader(
            dataset,
            sampler=_Endless(images),
            batch_size=batch_size,
            num_workers=workers,
            worker_init_fn=worker_start(),
            multiprocessing_context=worker_context(workers),
            pin_memory=self._device.type == "cuda",
        )

    def __iter__(self) -> Iterator[ViewBatch]:
        """Raises DataError when a worker was killed."""
        try:
            for view_1, view_2, label in () if self._loader is None else self._loader:
                if self._loader is None:
                    return
                view_1, view_2 = (view.to(self._device, non_blocking=True) for view in (view_1, view_2))
                yield ViewBatch(view_1, view_2, label)
        except WORKER_ENDED as error:
            raise worker_ended(error) from error

    def close(self) -> None:
        """Ends the workers, as soon as no iterator is left."""
        self._loader = None


def stock_views(
    manifest: Manifest,
    *,
    augmentation: str,
    image_size: int,
    batch_size: int,
    workers: int,
    device: torch.device | str = "cpu",
    decoder: StockDecoder = "pil",
) -> RivalViews:
    """(n, 3, S, S) float32 views, as the authors' loader makes them. Raises DataError when the set is smaller
    than a batch."""
    manifest.require_batch(batch_size)
    images = _Images(manifest, augmentation, image_size, decoder)
    return RivalViews(images, images=len(manifest), batch_size=batch_size, workers=workers, device=device)
