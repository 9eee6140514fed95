"""One image file: whether both back ends read it, and its RGB pixels by Pillow.

Which files both read was found by experiment (DALI 2.4 on CPU, Pillow 13; the table is in docs/PIPELINES.md).
What only one of them reads, or what they read differently, is refused for both, so that a data set is the
same whatever reads it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = frozenset({"JPEG", "MPO", "PNG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"})
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
MODES_16_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
TAIL_BYTES = 4096
READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged files: its parsers let more than OSError through."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`reason` is None for a usable image, otherwise why it is not, in words. Sizes are in pixels, 0 when
    unknown."""

    reason: str | None
    height: int = 0
    width: int = 0
    format: str = ""
    lasting: bool = True
    """False when the reason is the file's access and not its content: a change of rights leaves size and
    time as they were."""


def check_image(path: Path, *, full: bool) -> Verdict:
    """Whether `path` can be used. Never raises for what a file holds.

    A JPEG passes on its header and its end-of-image marker unless `full`; every other format is decoded.
    """
    try:
        if path.stat().st_size == 0:
            return Verdict(reason="empty file")
        with path.open("rb") as file, Image.open(file) as image:
            return _check_opened(image, path, full)
    except UnidentifiedImageError:
        return Verdict(reason="not an image")
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            return Verdict(reason=f"cannot be read ({error.strerror})", lasting=False)
        return Verdict(reason=_reason(error))


def _check_opened(image: Image.Image, path: Path, full: bool) -> Verdict:
    width, height = image.size
    kind = image.format or ""

    def verdict(reason: str | None) -> Verdict:
        return Verdict(reason=reason, height=height, width=width, format=kind)

    if kind not in FORMATS:
        return verdict(f"{kind} is not read by every pipeline; convert it to JPEG or PNG")
    if not _convertible(image):
        return verdict(
            f"{kind} with pixels of kind {image.mode} is not read by every pipeline; convert it to 8 bits"
        )
    if kind in ("JPEG", "MPO") and not full and b"\xff\xd9" in _tail(path):
        return verdict(None)
    image.load()
    if kind == "PNG" and b"IEND" not in _tail(path) and b"IEND" not in path.read_bytes():
        return verdict("truncated")  # Pillow forgives a missing end; DALI does not
    return verdict(None)


def decode_rgb(path: str | Path) -> Image.Image:
    """The image in 8-bit RGB, as DALI gives it: alpha is dropped, the EXIF orientation is not applied (as in
    the official code).

    Raises one of READ_ERRORS.
    """
    with open(path, "rb") as file, Image.open(file) as image:  # noqa: PTH123 (a str is given for speed)
        if image.mode == "RGB":
            image.load()
            return image
        if _is_16_bit(image):
            # Pillow would clip 16 bits at 255
            wide = np.asarray(image).astype(np.float64) / 257
            return Image.fromarray(np.rint(wide).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


def _convertible(image: Image.Image) -> bool:
    return image.mode in MODES or _is_16_bit(image)


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode in MODES_16_BIT or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return file.read()


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"too large to decode safely (over {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels)"
    text = str(error)
    return (
        "truncated"
        if "truncated" in text.lower()
        else f"damaged ({' '.join(text.split())[:80] or type(error).__name__})"
    )
