"""The two back ends on fixed parameters, operation by operation, and in distribution on random ones.

Bounds are out of 255, on a CPU: 1 anywhere in one operation, and 0.05 on average over whole views.
`test_view_kernel.py` holds the kernel to equality; here it is called by DALI.
"""

from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.builtin_set import make_builtin_set
from pipelines.dali_fixed import render_fixed
from pipelines.factory import make_views
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest, load_manifest
from pipelines.sampling import view_vectors
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import render_view
from pipelines.view_parameters import ViewParameters

SIDE = 96
WHOLE = ViewParameters(crop=(0, 0, 150, 200), flip=False, jitter=None, gray=False, sigma=None, solarize=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("set") / "built-in"
    return load_manifest(make_builtin_set(root, train=48, test=1, size=(200, 150), seed=0))


@pytest.fixture(scope="module")
def images(pictures: Manifest) -> list[Image.Image]:
    return [decode_rgb(pictures.path(index)) for index in range(8)]


def difference(images: list[Image.Image], parameters: list[ViewParameters]) -> np.ndarray:
    """Absolute differences of each image's view, (n, S, S, 3), out of 255."""
    theirs = np.stack(
        [render_view(image, each, SIDE) for image, each in zip(images, parameters, strict=True)]
    )
    return np.abs(render_fixed(images, parameters, SIDE).numpy().astype(np.int64) - theirs)


def jittered(*operations: tuple[str, float]) -> ViewParameters:
    return replace(WHOLE, jitter=operations)  # type: ignore[arg-type]


CASES = {
    "resize": WHOLE,
    "crop, smaller": replace(WHOLE, crop=(10, 20, 120, 130)),
    "crop, larger": replace(WHOLE, crop=(30, 40, 50, 60)),
    "crop, tall": replace(WHOLE, crop=(0, 40, 150, 100)),
    "flip": replace(WHOLE, flip=True),
    "brightness up": jittered(("brightness", 1.4)),
    "brightness down": jittered(("brightness", 0.6)),
    "contrast up": jittered(("contrast", 1.4)),
    "contrast down": jittered(("contrast", 0.6)),
    "saturation up": jittered(("saturation", 1.2)),
    "saturation down": jittered(("saturation", 0.8)),
    "hue forwards": jittered(("hue", 0.1)),
    "hue backwards": jittered(("hue", -0.1)),
    "no hue": jittered(("hue", 0.0)),
    "gray": replace(WHOLE, gray=True),
    "blur 0.1": replace(WHOLE, sigma=0.1),
    "blur 0.5": replace(WHOLE, sigma=0.5),
    "blur 1": replace(WHOLE, sigma=1.0),
    "blur 2": replace(WHOLE, sigma=2.0),
    "solarize": replace(WHOLE, solarize=True),
}


@pytest.mark.parametrize("case", CASES)
def test_one_operation_agrees(case: str, images: list[Image.Image]) -> None:
    assert difference(images, [CASES[case]] * len(images)).max() <= 1


def test_the_jitter_agrees_in_each_of_its_orders(images: list[Image.Image]) -> None:
    factors = {"brightness": 1.3, "contrast": 0.7, "saturation": 1.2, "hue": 0.05}
    orders = [jittered(*order) for order in permutations(factors.items())]
    assert len(orders) == 24
    for order in orders:
        assert difference(images[:2], [order] * 2).mean() <= 0.05


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_whole_views_agree(augmentation: str, images: list[Image.Image]) -> None:
    count = len(images)
    for epoch in range(6):
        for vectors in view_vectors(augmentation, 0, epoch, range(count), [150] * count, [200] * count):
            drawn = [ViewParameters.of(vector) for vector in vectors]
            assert difference(images, drawn).mean() <= 0.05


def statistics(kind: str, manifest: Manifest, view: int) -> dict[str, tuple[float, float]]:
    """Mean over views and its standard error, of what shows the distribution of the augmentation."""
    pipeline = make_views(
        kind,  # type: ignore[arg-type]
        manifest,
        augmentation="official",
        image_size=32,
        batch_size=48,
        seed=5,
        workers=2,
        device="cpu",
    )
    views = torch.cat([batch[view] for batch in islice(iter(pipeline), 16)]).double()
    pipeline.close()
    gray = (views.amax(dim=1) - views.amin(dim=1)).amax(dim=(1, 2)) == 0
    values = {
        "mean": views.mean(dim=(1, 2, 3)),
        "contrast": views.std(dim=(1, 2, 3)),
        "detail": (views[..., 1:] - views[..., :-1]).abs().mean(dim=(1, 2, 3)),
        "colour": (views.amax(dim=1) - views.amin(dim=1)).mean(dim=(1, 2)),
        "gray": gray.double(),
        "left against right": (
            views[..., :16].mean(dim=(1, 2, 3)) - views[..., 16:].mean(dim=(1, 2, 3))
        ).abs(),
        "brightest": views.amax(dim=(1, 2, 3)),
    }
    return {name: (float(v.mean()), float(v.std() / len(v) ** 0.5)) for name, v in values.items()}


@pytest.mark.parametrize("view", [0, 1])
def test_random_views_have_the_same_distribution(view: int, pictures: Manifest) -> None:
    theirs, ours = statistics("torchvision", pictures, view), statistics("dali", pictures, view)
    for name, (mean, error) in theirs.items():
        other, other_error = ours[name]
        print(f"view {view + 1} {name}: {mean:.2f} ± {error:.2f}, dali {other:.2f} ± {other_error:.2f}")
    for name, (mean, error) in theirs.items():
        other, other_error = ours[name]
        assert abs(mean - other) < 4 * (error**2 + other_error**2) ** 0.5, name
    assert 0.14 < ours["gray"][0] < 0.26


def striped(tmp_path: Path) -> Manifest:
    """Left half black, right half nearly white: a flip exchanges them, and solarize leaves nothing bright."""
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:, 32:] = 250
    for number in range(64):
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    return load_manifest(tmp_path)


@pytest.mark.parametrize("kind", ["torchvision", "dali"])
def test_flip_and_solarize_come_at_their_rates(kind: str, tmp_path: Path) -> None:
    pipeline = make_views(
        kind,  # type: ignore[arg-type]
        striped(tmp_path),
        augmentation="official",
        image_size=32,
        batch_size=64,
        seed=1,
        workers=2,
        device="cpu",
    )
    batches = list(islice(iter(pipeline), 10))
    pipeline.close()
    first = torch.cat([batch.view_1 for batch in batches]).double().mean(dim=1)
    left, right = first[:, :, 0].mean(dim=1), first[:, :, -1].mean(dim=1)
    seen = (left - right).abs() > 60  # crops that hold both halves
    assert seen.sum() > 200
    flipped = (left > right)[seen].double().mean()
    assert abs(flipped - 0.5) < 4 * 0.5 / float(seen.sum()) ** 0.5
    # where all is white, only solarizing makes it dark: brightness and contrast reach 0.6 × 250 and the mean
    # itself
    second = torch.cat([batch.view_2 for batch in batches]).double()
    solarized = (second.amax(dim=(1, 2, 3)) < 128).double().mean()
    untouched = (torch.cat([batch.view_1 for batch in batches]).amax(dim=(1, 2, 3)) < 128).double().mean()
    assert 0.12 < solarized - untouched < 0.28
