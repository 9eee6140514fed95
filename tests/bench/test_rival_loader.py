"""The authors' loader, as we time it, makes what theirs makes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.loader import LOADERS, measure_loaders
from bench.rival_loader import StockViews, stock_transform
from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from pipelines.spec import ViewSpec
from vicreg_fast.errors import UsageError
from vicreg_fast.model import Normalize


def test_a_transform_without_chance_is_normalising(tmp_path: Path) -> None:
    from PIL import Image

    still = ViewSpec(crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0, gray=0)
    image = Image.effect_noise((24, 24), 60).convert("RGB")
    view = stock_transform(still, 24)(image)
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1)
    torch.testing.assert_close(view, Normalize()(pixels[None])[0], rtol=0, atol=1e-5)


def test_both_columns_of_the_table_are_used(tmp_path: Path) -> None:
    """View 2 is solarized at times, which view 1 never is; view 1 is always blurred."""
    from PIL import Image

    white = Image.new("RGB", (16, 16), (255, 255, 255))
    kept = {"crop_area": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter": 0.0, "gray": 0.0}
    dark = stock_transform(ViewSpec(solarize=1.0, **kept), 16)(white)  # type: ignore[arg-type]
    light = stock_transform(ViewSpec(solarize=0.0, **kept), 16)(white)  # type: ignore[arg-type]
    assert dark.max() < light.min()
    noise = Image.effect_noise((32, 32), 100).convert("RGB")
    sharp = stock_transform(ViewSpec(blur=0.0, flip=0, **kept), 32)(noise)  # type: ignore[arg-type]
    soft = stock_transform(ViewSpec(blur=1.0, sigma=(2.0, 2.0), flip=0, **kept), 32)(noise)  # type: ignore[arg-type]
    assert soft.std() < 0.5 * sharp.std()


def test_stream_and_measurement(tmp_path: Path) -> None:
    manifest = load_manifest(make_builtin_set(tmp_path / "set", train=20, test=0, size=(32, 32)))
    views = StockViews(manifest, augmentation="official", image_size=24, batch_size=8, workers=0)
    batches = iter(views)
    for _ in range(5):  # past the end of the set: it begins anew
        batch = next(batches)
        assert batch.view_1.shape == batch.view_2.shape == (8, 3, 24, 24)
        assert batch.view_1.dtype == torch.float32
        assert not torch.equal(batch.view_1, batch.view_2)
        assert int(batch.label.min()) >= 0
    views.close()
    records = measure_loaders(
        manifest, augmentation="official", image_size=24, batch_size=4, workers=1, rounds=2, seconds=0.05
    )
    assert [r.scenario for r in records] == [*LOADERS, *reversed(LOADERS)]
    assert all(r.mode == "loader-only" and min(r.window_seconds) > 0 for r in records)
    with pytest.raises(UsageError, match="CPU"):
        measure_loaders(
            manifest,
            augmentation="official",
            image_size=24,
            batch_size=4,
            workers=1,
            rounds=1,
            seconds=0.1,
            device="cuda",
        )
