"""The two back ends on fixed parameters, operation by operation, and in distribution on random ones.

Bounds are mean absolute differences out of 255, at most twice what was measured; docs/PIPELINES.md lists
the measured ones.
"""

from dataclasses import replace
from itertools import islice
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
from pipelines.sampling import sample_generator
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
    """Mean absolute difference of each image's view, out of 255."""
    theirs = np.stack(
        [render_view(image, each, SIDE) for image, each in zip(images, parameters, strict=True)]
    )
    ours = render_fixed(images, parameters, SIDE).numpy()
    return np.abs(ours.astype(np.float64) - theirs).mean(axis=(1, 2, 3))


def jittered(*operations: tuple[str, float]) -> ViewParameters:
    return replace(WHOLE, jitter=operations)  # type: ignore[arg-type]


CASES = {
    "resize": (WHOLE, 0.01),
    "crop, smaller": (replace(WHOLE, crop=(10, 20, 120, 130)), 0.01),
    "crop, larger": (replace(WHOLE, crop=(30, 40, 50, 60)), 0.01),
    "flip": (replace(WHOLE, flip=True), 0.01),
    "brightness up": (jittered(("brightness", 1.4)), 0.7),
    "brightness down": (jittered(("brightness", 0.6)), 0.6),
    "contrast up": (jittered(("contrast", 1.4)), 0.7),
    "contrast down": (jittered(("contrast", 0.6)), 0.7),
    "saturation up": (jittered(("saturation", 1.2)), 0.7),
    "saturation down": (jittered(("saturation", 0.8)), 0.7),
    "gray": (replace(WHOLE, gray=True), 0.01),
    "blur 0.1": (replace(WHOLE, sigma=0.1), 0.02),
    "blur 0.5": (replace(WHOLE, sigma=0.5), 0.8),
    "blur 1": (replace(WHOLE, sigma=1.0), 0.65),
    "blur 2": (replace(WHOLE, sigma=2.0), 0.4),
    "solarize": (replace(WHOLE, solarize=True), 0.01),
    "no hue": (jittered(("hue", 0.0)), 0.14),
}


@pytest.mark.parametrize("case", CASES)
def test_one_operation_agrees(case: str, images: list[Image.Image]) -> None:
    parameters, bound = CASES[case]
    measured = difference(images, [parameters] * len(images)).mean()
    print(f"{case}: {measured:.2f}")
    assert measured < bound


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.3, 2.0])
def test_blur_is_pillows_even_on_noise(sigma: float) -> None:
    """At its own size nothing is resized: this is the blur alone, on what shows its kernel most."""
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(2)]
    blur = replace(WHOLE, crop=(0, 0, SIDE, SIDE), sigma=sigma)
    measured = difference(noise, [blur] * 2).mean()
    print(f"noise, blur {sigma}: {measured:.2f}")
    assert measured < 1.2


def test_colours_are_multiplied_by_the_matrix_and_saturated_once(images: list[Image.Image]) -> None:
    saturated = replace(
        WHOLE, crop=(0, 0, SIDE, SIDE), jitter=(("saturation", 1.2), ("hue", 0.1), ("brightness", 1.0))
    )
    squares = [image.crop((0, 0, SIDE, SIDE)) for image in images[:4]]
    pixels = np.stack([np.asarray(image) for image in squares]).astype(np.float64)
    angle, luma = 0.2 * np.pi, np.array([0.299, 0.587, 0.114])
    gray = pixels @ luma
    vivid = 1.2 * pixels - 0.2 * gray[..., None]
    # Rodrigues' formula about the axis of the greys
    axis = np.full(3, 3**-0.5)
    along = vivid @ axis
    turned = (
        np.cos(angle) * vivid
        + np.sin(angle) * np.cross(axis, vivid)
        + (1 - np.cos(angle)) * along[..., None] * axis
    )
    ours = render_fixed(squares, [saturated] * 4, SIDE).numpy()
    assert np.abs(ours - np.clip(turned, 0, 255)).max() <= 1.5


@pytest.mark.parametrize("turns", [-0.1, -0.05, 0.05, 0.1])
def test_hue_turns_the_same_way_and_is_nearer_than_not_turning(
    turns: float, images: list[Image.Image]
) -> None:
    parameters = [jittered(("hue", turns))] * len(images)
    off = difference(images, parameters).mean()
    turned = np.stack([render_view(image, parameters[0], SIDE) for image in images]).astype(np.float64)
    still = np.stack([render_view(image, WHOLE, SIDE) for image in images])
    backwards = render_fixed(images, [jittered(("hue", -turns))] * len(images), SIDE).numpy()
    print(f"hue {turns}: {off:.2f}, the jitter itself {np.abs(turned - still).mean():.2f}")
    assert off < 0.9 * np.abs(turned - still).mean()
    assert off < 0.6 * np.abs(turned - backwards).mean()


def test_whole_views_agree_but_for_hue(images: list[Image.Image]) -> None:
    off = []
    for epoch in range(6):
        for spec, bound in zip(AUGMENTATIONS["official"], (2.0, 2.0), strict=True):
            hueless = replace(spec, hue=0.0)
            drawn = [hueless.sample(sample_generator(0, epoch, k), 150, 200) for k in range(len(images))]
            each = difference(images, drawn)
            off.append((float(np.median(each)), bound))
    print(off)
    assert np.mean([median < bound for median, bound in off]) == 1.0


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
