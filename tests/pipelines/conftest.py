"""Small image sets, and one image in every format that both back ends read and in those that they do not.

The verdict cache goes to a folder of the test's own.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.manifest import Manifest, load_manifest


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VICREG_FAST_CACHE", str(folder))
    return folder


def textured(seed: int, height: int = 48, width: int = 64) -> Image.Image:
    """Smooth coloured structure with some noise, as photographs have: pure noise would make every resize
    differ."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float64)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def one_class_an_image(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """22 images, each its own class, so a label says which image a view is of."""
    root = tmp_path_factory.mktemp("images")
    for number in range(22):
        folder = root / "train" / f"class {number:02d} ü"
        folder.mkdir(parents=True)
        textured(number, 40 + number, 60).save(folder / "an image ß.jpg", quality=92)
    return load_manifest(root)


def picture() -> Image.Image:
    y, x = np.mgrid[0:64, 0:96]
    bands = (2 * x, 3 * y, (x + y) * 255 // 160)
    return Image.fromarray(np.stack(bands, axis=2).astype(np.uint8))


def sixteen_bit() -> Image.Image:
    y, x = np.mgrid[0:64, 0:96]
    return Image.fromarray((x * 640 + y * 70).astype(np.uint16))


def png_48_bit(image: Image.Image) -> bytes:
    """Pillow reads 16 bits a channel but does not write them."""
    pixels = np.asarray(image).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def usable(tmp_path: Path) -> list[str]:
    """Names of files in tmp_path that both back ends read."""
    folder = tmp_path
    image = picture()
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)))
    turned = Image.Exif()
    turned[274] = 6
    image.save(folder / "plain.jpg", quality=92)
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "turned by EXIF.jpg", exif=turned)
    image.save(folder / "a name with spaces, ü and 日本.jpg")
    image.convert("L").save(folder / "gray.jpg")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "png inside.jpg", format="PNG")
    for name, kind in (("rgb", "RGB"), ("gray", "L"), ("palette", "P"), ("bits", "1")):
        image.convert(kind).save(folder / f"{name}.png")
    alpha.save(folder / "alpha.png")
    alpha.convert("LA").save(folder / "gray alpha.png")
    sixteen_bit().save(folder / "gray 16 bit.png")
    (folder / "rgb 16 bit.png").write_bytes(png_48_bit(image))
    alpha.save(folder / "alpha.webp", lossless=True)
    image.save(folder / "lossy.webp")
    image.save(folder / "rgb.bmp")
    image.convert("P").save(folder / "palette.bmp")
    image.save(folder / "rgb.tif")
    image.save(folder / "packed.tif", compression="tiff_lzw")
    image.save(folder / "rgb.ppm")
    image.save(folder / "rgb.jp2")
    trailing = (folder / "plain.jpg").read_bytes() + b"junk after the end" * 3
    (folder / "trailing.jpg").write_bytes(trailing)
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
def unusable(tmp_path: Path) -> dict[str, str]:
    """Names of files in tmp_path that cannot be used, each with a word of its reason."""
    folder = tmp_path
    image = picture()
    image.save(folder / "whole.jpg")
    image.save(folder / "whole.png")
    jpeg, png = (folder / "whole.jpg").read_bytes(), (folder / "whole.png").read_bytes()
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 0xFF
    contents = {
        "empty.jpg": (b"", "empty file"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "no end.jpg": (jpeg[:-2], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "no end.png": (png[:-12], "truncated"),
        "damaged.png": (bytes(damaged), "damaged"),
        "text.jpg": (b"no image at all " * 20, "not an image"),
        "notes.txt": (b"a list of things", "not an image"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    image.convert("P").save(folder / "moving.gif")
    Image.fromarray(np.ones((64, 96), dtype=np.float32)).save(folder / "float.tif")
    (folder / "whole.jpg").unlink()
    (folder / "whole.png").unlink()
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    reasons = {name: reason for name, (_, reason) in contents.items()}
    return {**reasons, "moving.gif": "GIF", "float.tif": "kind F", "dangling.jpg": "cannot be read"}
