"""How far each loader's views are from the official ones, and that another operation is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import rival_loader_v2
from bench.loader_fidelity import measure_fidelity
from bench.loader_kinds import BASELINE, choose_loaders
from bench.loader_record import CROP, WHOLE, LoaderFidelity
from bench.rival_loader_v2 import open_tensor
from pipelines.builtin_set import make_builtin_set
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest, load_manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("fidelity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VICREG_FAST_CACHE", str(folder / "cache"))
        return load_manifest(make_builtin_set(folder / "set", train=3, test=0, size=(200, 150)))


def fidelity(manifest: Manifest, pipeline: str, decoder: str, size: int = 32) -> LoaderFidelity:
    (subject,) = choose_loaders((pipeline,), (decoder,), on_gpu=False)
    return measure_fidelity(subject, manifest, size, augmentation="official")


def means(found: LoaderFidelity) -> dict[str, float]:
    return {operation.operation: operation.mean for operation in found.operations}


@pytest.mark.parametrize("pipeline", [BASELINE, "torchvision"])
def test_the_reference_is_what_the_authors_loader_makes(pipeline: str, manifest: Manifest) -> None:
    found = fidelity(manifest, pipeline, "pil")
    assert found.images == 3
    assert set(means(found).values()) == {0.0}
    effects = {operation.operation: operation.effect for operation in found.operations}
    assert effects.pop(CROP) is None
    assert effects.pop(WHOLE) is None
    assert list(effects) == [
        "brightness 1.4",
        "contrast 1.4",
        "saturation 1.2",
        "hue 0.1",
        "grey",
        "blur σ 0.57",
        "blur σ 1.52",
        "solarize",
    ]
    assert min(effect for effect in effects.values() if effect is not None) > 0.3


def test_tensors_and_dali_are_near(manifest: Manifest) -> None:
    tensors, dali = (
        fidelity(manifest, "torchvision-v2", "torchvision-io"),
        fidelity(manifest, "dali", "dali-cpu"),
    )
    for name, mean in means(tensors).items():
        assert mean < (0.2 if name == CROP else 1.3), name
    for name, mean in means(dali).items():  # what the two decoders round differently
        assert mean <= 0.05, name
    assert all(o.worst_image >= o.mean for found in (tensors, dali) for o in found.operations)


def test_a_smaller_decode_shows(manifest: Manifest) -> None:
    """150 pixels for views of 32: draft mode gives a quarter, and small crops are enlarged."""
    draft = means(fidelity(manifest, BASELINE, "pil-draft"))
    assert draft[CROP] > 0.5
    assert set(means(fidelity(manifest, BASELINE, "pil-draft", size=80)).values()) == {
        0.0
    }  # nothing to draft


def test_an_operation_that_is_another_shows(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_loader_v2.F, "solarize", lambda view, _: view)
    found = fidelity(manifest, "torchvision-v2", "torchvision-io")
    solarize = next(o for o in found.operations if o.operation == "solarize")
    assert solarize.effect is not None
    assert solarize.mean > 0.9 * solarize.effect > 1


@pytest.mark.parametrize(
    "kind", ["rgb.jpg", "gray.jpg", "cmyk.jpg", "wide.png", "alpha.png", "p.bmp", "x.webp"]
)
def test_tensors_hold_what_pillow_reads(kind: str, tmp_path: Path) -> None:
    y, x = np.mgrid[0:24, 0:40]
    image = Image.fromarray(np.stack([6 * x, 9 * y, 3 * (x + y)], axis=2).astype(np.uint8))
    made = {
        "rgb.jpg": image,
        "gray.jpg": image.convert("L"),
        "cmyk.jpg": image.convert("CMYK"),
        "wide.png": Image.fromarray((x * 1500 + y).astype(np.uint16)),
        "alpha.png": image.convert("RGBA"),
        "p.bmp": image.convert("P"),
        "x.webp": image,
    }[kind]
    made.save(tmp_path / kind)
    tensor = open_tensor(str(tmp_path / kind), "torchvision-io")
    assert tensor.dtype == torch.uint8
    assert tensor.shape == (3, 24, 40)
    apart = np.abs(
        tensor.permute(1, 2, 0).numpy().astype(int) - np.asarray(decode_rgb(tmp_path / kind)).astype(int)
    )
    assert apart.mean() < 1.0
