"""The compiled view against Pillow and torchvision: each operation to the byte, and whole views."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np
import pytest
import torchvision.transforms.functional as F
from PIL import Image, ImageFilter, ImageOps

from pipelines import colour_kernel as kernel
from pipelines.dali_fixed import render_fixed
from pipelines.sampling import view_vectors
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import render_view
from pipelines.view_kernel import view
from pipelines.view_parameters import ViewParameters

ROOT = Path(__file__).parents[2]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

THEIRS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
    "blur": lambda image, sigma: image.filter(ImageFilter.GaussianBlur(sigma)),
    "gray": lambda image, _: F.rgb_to_grayscale(image, num_output_channels=3),
    "solarize": lambda image, _: ImageOps.solarize(image, 128),
}
OURS: dict[str, Callable[[Bytes, float], None]] = {
    "brightness": kernel.brightness,
    "contrast": kernel.contrast,
    "saturation": kernel.saturation,
    "hue": kernel.hue,
    "blur": kernel.blur,
    "gray": lambda view_SS3, _: kernel.gray(view_SS3),
    "solarize": lambda view_SS3, _: kernel.solarize(view_SS3),
}
RANGES = {"brightness": (0.0, 2.0), "contrast": (0.0, 2.0), "saturation": (0.0, 2.0), "hue": (-0.5, 0.5)}
EDGES = {
    "brightness": (0.0, 0.6, 1.0, 1.4),
    "contrast": (0.0, 0.6, 1.0, 1.4),
    "saturation": (0.0, 0.8, 1.0, 1.2),
    "hue": (-0.5, -0.1, 0.0, 0.1, 0.5),
    "blur": (0.0, 1e-3, 0.1, 1.0, 2.0, 8.0, 100.0),
    "gray": (1.0,),
    "solarize": (1.0,),
}


def noise(size: int, rng: np.random.Generator) -> Bytes:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def smooth(size: int, rng: np.random.Generator) -> Bytes:
    """Gradients with some noise, as photographs have them, and saturated parts."""
    coarse = Image.fromarray(noise(6, rng)).resize((size, size), Image.Resampling.BICUBIC)
    wide = (np.asarray(coarse) - 128.0) * 1.4 + 128 + rng.normal(0, 4, (size, size, 1))
    return np.clip(wide, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 8, 32, 33, 224])
@pytest.mark.parametrize("operation", THEIRS)
def test_each_operation_is_theirs_to_the_byte(operation: str, size: int) -> None:
    rng = np.random.default_rng(size)
    low, high = RANGES.get(operation, (0.05, 4.0))
    for factor in [*EDGES[operation], *rng.uniform(low, high, 12)]:
        for pixels in (noise(size, rng), smooth(size, rng), np.full((size, size, 3), 200, np.uint8)):
            ours = pixels.copy()
            OURS[operation](ours, float(factor))
            theirs = THEIRS[operation](Image.fromarray(pixels), float(factor))
            np.testing.assert_array_equal(ours, np.asarray(theirs), err_msg=f"factor {factor}")


@pytest.mark.parametrize("operation", ["saturation", "hue", "gray"])
def test_each_of_all_colours_is_theirs(operation: str) -> None:
    number = np.arange(2**24, dtype=np.uint32)
    colours = np.stack([number & 255, number >> 8 & 255, number >> 16], axis=1).astype(np.uint8)
    pixels = colours.reshape(4096, 4096, 3)
    theirs = THEIRS[operation](Image.fromarray(pixels), 0.07)
    OURS[operation](pixels, 0.07)
    assert (pixels == np.asarray(theirs)).all()


def drawn(augmentation: str, count: int, height: int, width: int) -> list[ViewParameters]:
    both = view_vectors(augmentation, 0, 0, range(count), [height] * count, [width] * count)
    return [ViewParameters.of(vector) for pair in zip(*both, strict=True) for vector in pair]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize(("side", "size"), [(32, 32), (250, 96), (400, 224)])
def test_whole_views_are_torchvisions_to_the_byte(augmentation: str, side: int, size: int) -> None:
    picture = smooth(side, np.random.default_rng(3))
    for parameters in drawn(augmentation, 60, side, side):
        ours = np.empty((size, size, 3), np.uint8)
        view(ours, picture, parameters.vector())
        theirs = render_view(Image.fromarray(picture), parameters, size)
        np.testing.assert_array_equal(ours, theirs, err_msg=str(parameters))


def test_dali_makes_each_images_own_view() -> None:
    rng = np.random.default_rng(5)
    pictures = [smooth(size, rng) for size in (40, 61, 33, 90)]
    parameters = [drawn("official", k + 1, *picture.shape[:2])[-1] for k, picture in enumerate(pictures)]
    views = render_fixed([Image.fromarray(picture) for picture in pictures], parameters, 48).numpy()
    for got, picture, each in zip(views, pictures, parameters, strict=True):
        expected = np.empty((48, 48, 3), np.uint8)
        view(expected, picture, each.vector())
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("crop", "within"),
    [
        ((0, 0, 90, 70), (0, 0, 40, 50)),
        ((30, 20, 60, 10), (30, 20, 10, 10)),
        ((80, 60, 9, 9), (39, 49, 1, 1)),
    ],
)
def test_a_crop_that_leaves_the_image_is_brought_back(
    crop: tuple[int, int, int, int], within: tuple[int, int, int, int]
) -> None:
    """Of a file that was replaced by a smaller one: nothing beyond its memory is read."""
    picture = smooth(50, np.random.default_rng(7))[:40].copy()
    still = ViewParameters(crop=crop, flip=False, jitter=None, gray=False, sigma=None, solarize=False)
    views = [np.empty((16, 16, 3), np.uint8) for _ in range(2)]
    for out, each in zip(views, (crop, within), strict=True):
        view(out, picture, replace(still, crop=each).vector())
    np.testing.assert_array_equal(*views)


HITS = "import pipelines.view_kernel as v; print(v.dali_run.cache_hits, v.dali_setup.cache_hits, v.__file__)"


def compiled(folder: Path, code: str = HITS) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing() -> None:
    """Compiling takes seconds, of every worker and every rank, where Numba's cache does not hold."""
    assert compiled(ROOT)[:2] == ["1", "1"]


def test_an_edit_of_a_kernel_that_is_called_compiles_anew(tmp_path: Path) -> None:
    """Numba alone would run the old code: it looks at the file of the calling function only."""
    package = tmp_path / "pipelines"
    package.joinpath("__pycache__").mkdir(parents=True)
    for name in ("__init__", "view_kernel", "colour_kernel", "resize_kernel", "view_parameters"):
        copy2(ROOT / "pipelines" / f"{name}.py", package)
    for cached in (ROOT / "pipelines" / "__pycache__").glob("*.nb?"):  # spares the first compilation
        copy2(cached, package / "__pycache__")
    code = (
        "import numpy as np, pipelines.view_kernel as v; out = np.zeros((1, 1, 3), np.uint8); "
        "v.view(out, out.copy(), np.array([0, 0, 1, 1, *[0] * 12, 1.0])); print(out[0, 0, 0], v.__file__)"
    )
    before, file = compiled(tmp_path, code)
    assert (before, Path(file).parent) == ("0", package)
    colours = package / "colour_kernel.py"
    old = "min(values[i], np.uint8(255) - values[i])"
    assert colours.read_text().count(old) == 1
    colours.write_text(colours.read_text().replace(old, "np.uint8(77)"))
    assert compiled(tmp_path, code)[0] == "77"
