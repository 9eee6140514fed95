"""The loader that torchvision's own guide leads to: transforms.v2 on byte tensors, decoded by torchvision.io.

Crop, flip, jitter, grey and solarize are v2's functions on uint8 tensors, in which the bicubic antialiased
resize is vectorised; views stay bytes, for a quarter of the copying. Parameters are drawn as
`pipelines.spec` says, so the very function that is timed is compared on fixed ones. Only for timing: it draws
from the global random state of its workers and cannot be resumed.
"""

import math
import warnings
from contextlib import suppress
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from bench.rival_loader import RivalViews
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest
from pipelines.spec import AUGMENTATIONS, UNIFORMS
from pipelines.view_parameters import ViewParameters

TensorDecoder = Literal["torchvision-io", "pil"]

_JITTER = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def open_tensor(path: str, decoder: TensorDecoder) -> Tensor:
    """(3, H, W) uint8 of an image file; Pillow reads what torchvision.io does not, or not as 8 bits."""
    if decoder == "torchvision-io":
        # torchvision 0.29 says at each image that its decoders are to go; they are what people have
        with suppress(RuntimeError), warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            image: Tensor = decode_image(read_file(path), mode=ImageReadMode.RGB)
            if image.dtype == torch.uint8:
                return image
    read: Tensor = F.pil_to_tensor(decode_rgb(path))
    return read


def render_tensor(image: Tensor, parameters: ViewParameters, image_size: int) -> Tensor:
    """(3, S, S) uint8: the view of a (3, H, W) uint8 image that `parameters` describe."""
    side = [image_size, image_size]
    view: Tensor = F.resized_crop(image, *parameters.crop, side, InterpolationMode.BICUBIC, antialias=True)
    if parameters.flip:
        view = F.horizontal_flip(view)
    for name, factor in parameters.jitter or ():
        view = _JITTER[name](view, factor)
    if parameters.gray:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    if parameters.sigma is not None:
        size = 2 * math.ceil(3 * parameters.sigma) + 1
        view = F.gaussian_blur(view, [size, size], [parameters.sigma, parameters.sigma])
    if parameters.solarize:
        view = F.solarize(view, 128)
    return view


class _Images(Dataset[tuple[Tensor, Tensor, int]]):
    def __init__(
        self, manifest: Manifest, augmentation: str, image_size: int, decoder: TensorDecoder
    ) -> None:
        self.manifest = manifest
        self.image_size = image_size
        self.decoder = decoder
        self.specs = AUGMENTATIONS[augmentation]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, int]]:
        """Of a whole batch: drawing parameters one image at a time would count against this loader."""
        sizes = self.manifest.sizes(indices)
        drawn_1, drawn_2 = (
            spec.sample(torch.rand(len(indices), UNIFORMS, dtype=torch.float64).numpy(), *sizes)
            for spec in self.specs
        )
        return [
            self._rendered(index, ViewParameters.of(first), ViewParameters.of(second))
            for index, first, second in zip(indices, drawn_1, drawn_2, strict=True)
        ]

    def _rendered(
        self, index: int, first: ViewParameters, second: ViewParameters
    ) -> tuple[Tensor, Tensor, int]:
        image = open_tensor(self.manifest.path(index), self.decoder)
        view_1, view_2 = (render_tensor(image, each, self.image_size) for each in (first, second))
        return view_1, view_2, self.manifest.labels[index]


def v2_views(
    manifest: Manifest,
    *,
    augmentation: str,
    image_size: int,
    batch_size: int,
    workers: int,
    device: torch.device | str = "cpu",
    decoder: TensorDecoder = "torchvision-io",
) -> RivalViews:
    """(n, 3, S, S) uint8 views. Raises DataError when the set is smaller than a batch."""
    manifest.require_batch(batch_size)
    images = _Images(manifest, augmentation, image_size, decoder)
    return RivalViews(images, images=len(manifest), batch_size=batch_size, workers=workers, device=device)
