"""Images small enough to travel in a result."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image
from torch import Tensor

SIDES = (64, 48, 32, 16)
"""Tried one after the other, in pixels, until all images fit."""
MOST_CHARACTERS = 1_200_000
"""Of base64, of all images of a result together."""
QUALITY = 80


def thumbnails(images: Mapping[str, Tensor]) -> dict[str, str]:
    """Each image, (3, S, S) uint8, as a JPEG in base64 under its key: at most 64 pixels a side, none
    enlarged, and smaller ones where all together would be more than MOST_CHARACTERS. None at all where even
    the smallest would be."""
    for side in SIDES:
        made = {key: _jpeg(image, side) for key, image in images.items()}
        if sum(map(len, made.values())) <= MOST_CHARACTERS:
            return made
    return {}


def _jpeg(image: Tensor, side: int) -> str:
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    with io.BytesIO() as out:
        picture.save(out, "JPEG", quality=QUALITY)
        return base64.b64encode(out.getvalue()).decode("ascii")
