"""Views by Pillow and torchvision in DataLoader workers: the baseline back end, and the one that runs
everywhere.

Each worker makes whole batches. A batch is a function of (seed, epoch, step, rank) alone, so the number of
workers changes nothing and any position can be returned to.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset, Sampler

from pipelines.contract import BatchContract, ViewBatch
from pipelines.image_check import READ_ERRORS, decode_rgb
from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.sampling import batch_indices, batches_in_epoch, view_vectors
from pipelines.transfer import SideStream, copied_ahead
from pipelines.view_parameters import ViewParameters
from pipelines.workers import WORKER_ENDED, worker_context, worker_ended, worker_start
from vicreg_fast.errors import DataError

PREFETCH = 2
"""Batches that each worker makes ahead."""


def render_view(
    image: Image.Image, parameters: ViewParameters, image_size: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(S, S, 3) uint8: the view of an RGB image that `parameters` describe (official
    `augmentations.py:TrainTransform`)."""
    side = [image_size, image_size]
    view = F.resized_crop(image, *parameters.crop, side, F.InterpolationMode.BICUBIC)
    if parameters.flip:
        view = F.hflip(view)
    for name, factor in parameters.jitter or ():
        view = _JITTER[name](view, factor)
    if parameters.gray:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if parameters.sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.sigma))
    if parameters.solarize:
        view = ImageOps.solarize(view, 128)
    return np.asarray(view)


_JITTER = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


class Failure(NamedTuple):
    """Comes from a worker in place of a batch: an exception would carry a traceback across processes."""

    file: str
    reason: str

    @classmethod
    def of(cls, file: str, error: BaseException) -> "Failure":
        return cls(file, getattr(error, "strerror", None) or str(error) or type(error).__name__)


CHANGED = "changed since it was checked"


def undecodable(failure: Failure) -> DataError:
    return DataError(
        f"{failure.file}: cannot be decoded ({failure.reason}); `vicreg-fast data check` finds such files"
    )


class _Batches(Dataset["ViewBatch | Failure"]):
    """Maps (epoch, indices of the images) to their batch, in the worker."""

    def __init__(self, manifest: Manifest, augmentation: str, image_size: int, seed: int) -> None:
        self._manifest = manifest
        self._augmentation = augmentation
        self._side = image_size
        self._seed = seed

    def __getitem__(self, key: tuple[int, list[int]]) -> ViewBatch | Failure:
        epoch, indices = key
        manifest = self._manifest
        heights, widths = manifest.sizes(indices)
        drawn = view_vectors(self._augmentation, self._seed, epoch, indices, heights, widths)
        pixels = torch.empty((2, len(indices), self._side, self._side, 3), dtype=torch.uint8)
        for place, index in enumerate(indices):
            path = manifest.path(index)
            try:
                image = decode_rgb(path)
            except READ_ERRORS as error:
                return Failure.of(path, error)
            if image.size != (widths[place], heights[place]):
                return Failure(path, CHANGED)
            for view, vectors in enumerate(drawn):
                rendered = render_view(image, ViewParameters.of(vectors[place]), self._side)
                pixels[view, place].numpy()[...] = rendered
        label = torch.tensor([manifest.labels[index] for index in indices], dtype=torch.int64)
        # permuted NHWC is channels_last as it stands
        return ViewBatch(pixels[0].permute(0, 3, 1, 2), pixels[1].permute(0, 3, 1, 2), label)


class _Keys(Sampler[tuple[int, list[int]]]):
    """The keys of this rank's batches from a position on, without end."""

    def __init__(self, pipeline: "TorchvisionViews") -> None:
        self._pipeline = pipeline

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        position, pipeline = self._pipeline.position, self._pipeline
        while True:
            yield position.epoch, batch_indices(position, len(pipeline.manifest))
            position = position.after_batch(pipeline.batches_per_epoch)


class TorchvisionViews:
    """A ViewPipeline. Arguments are as in `pipelines.factory.make_views`; `workers` = 0 works in this
    process.

    Raises DataError when the set is smaller than a batch, and while iterating when a file can no longer be
    read.
    """

    name = "torchvision"

    def __init__(
        self,
        manifest: Manifest,
        *,
        augmentation: str,
        image_size: int,
        batch_size: int,
        seed: int,
        workers: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        batches_per_step: int = 1,
    ) -> None:
        manifest.require_batch(batch_size, world_size, batches_per_step)
        self.manifest = manifest
        self.contract = BatchContract(batch_size=batch_size, image_size=image_size, device=device)
        self.batches_per_epoch = batches_in_epoch(len(manifest), batch_size, world_size, batches_per_step)
        self.position = Position(
            pipeline=self.name,
            data=manifest.fingerprint,
            augmentation=augmentation,
            image_size=image_size,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            batches_per_step=batches_per_step,
        )
        self._loader: DataLoader[ViewBatch | Failure] | None = DataLoader(
            _Batches(manifest, augmentation, image_size, seed),
            batch_size=None,
            sampler=_Keys(self),
            num_workers=workers,
            collate_fn=as_is,
            worker_init_fn=worker_start(),
            multiprocessing_context=worker_context(workers),
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers > 0 else None,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(
                seed
            ),  # else each iterator would draw from the global one
        )
        self._batches: Iterator[ViewBatch | Failure] | None = None
        self._side = SideStream(device) if device.type == "cuda" else None

    def __iter__(self) -> Iterator[ViewBatch]:
        while True:
            yield self._next()

    def _next(self) -> ViewBatch:
        if self._loader is None:
            raise DataError("the torchvision pipeline was closed and gives no further batch")
        if self._batches is None:
            loaded = iter(self._loader)
            self._batches = copied_ahead(loaded, self._side) if self._side is not None else loaded
        try:
            batch = next(self._batches)
        except WORKER_ENDED as error:
            self._batches = None
            raise worker_ended(error) from error
        if isinstance(batch, Failure):
            raise undecodable(batch)
        self.position = self.position.after_batch(self.batches_per_epoch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position; see `pipelines.position.Position`."""
        return self.position.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to that position. Raises CheckpointError when the state is of another pipeline, data set or
        run."""
        self.position = self.position.restored(state)
        self._batches = None

    def close(self) -> None:
        """Ends the workers."""
        self._batches = None
        self._loader = None


def as_is(batch: Any) -> Any:
    """A collate function for what is whole already."""
    return batch
