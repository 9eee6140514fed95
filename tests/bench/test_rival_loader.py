"""The authors' loader, as we time it, makes what theirs makes."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from bench.rival_loader import RivalViews, stock_transform, stock_views
from bench.rival_loader_v2 import v2_views
from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from pipelines.spec import ViewSpec
from vicreg_fast.errors import DataError
from vicreg_fast.model import Normalize


def test_a_transform_without_chance_is_normalising(tmp_path: Path) -> None:
    still = ViewSpec(crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0, gray=0)
    image = Image.effect_noise((24, 24), 60).convert("RGB")
    view = stock_transform(still, 24)(image)
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1)
    torch.testing.assert_close(view, Normalize()(pixels[None])[0], rtol=0, atol=1e-5)


def test_both_columns_of_the_table_are_used(tmp_path: Path) -> None:
    """View 2 is solarized at times, which view 1 never is; view 1 is always blurred."""
    white = Image.new("RGB", (16, 16), (255, 255, 255))
    kept = {"crop_area": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter": 0.0, "gray": 0.0}
    dark = stock_transform(ViewSpec(solarize=1.0, **kept), 16)(white)  # type: ignore[arg-type]
    light = stock_transform(ViewSpec(solarize=0.0, **kept), 16)(white)  # type: ignore[arg-type]
    assert dark.max() < light.min()
    noise = Image.effect_noise((32, 32), 100).convert("RGB")
    sharp = stock_transform(ViewSpec(blur=0.0, flip=0, **kept), 32)(noise)  # type: ignore[arg-type]
    soft = stock_transform(ViewSpec(blur=1.0, sigma=(2.0, 2.0), flip=0, **kept), 32)(noise)  # type: ignore[arg-type]
    assert soft.std() < 0.5 * sharp.std()


@pytest.mark.parametrize(
    ("views_of", "dtype"), [(stock_views, torch.float32), (v2_views, torch.uint8)], ids=["stock", "v2"]
)
def test_stream_without_end(views_of: Callable[..., RivalViews], dtype: torch.dtype, tmp_path: Path) -> None:
    manifest = load_manifest(make_builtin_set(tmp_path / "set", train=20, test=0, size=(32, 32)))
    views = views_of(manifest, augmentation="official", image_size=24, batch_size=8, workers=0)
    batches = iter(views)
    for _ in range(5):  # past the end of the set: it goes on
        batch = next(batches)
        assert batch.view_1.shape == batch.view_2.shape == (8, 3, 24, 24)
        assert batch.view_1.dtype == dtype
        assert not torch.equal(batch.view_1, batch.view_2)
        assert int(batch.label.min()) >= 0
    views.close()
    assert next(batches, None) is None
    with pytest.raises(DataError, match="batch"):
        views_of(manifest, augmentation="official", image_size=24, batch_size=21, workers=0)


@pytest.mark.parametrize("error", [RuntimeError("worker (pid 1) exited"), ConnectionResetError(104, "reset")])
def test_a_worker_that_was_killed_is_said_so(error: Exception, tmp_path: Path) -> None:
    class Broken(Dataset):
        def __getitem__(self, index: int) -> Any:
            raise error

    batches = iter(RivalViews(Broken(), images=4, batch_size=2, workers=0))
    with pytest.raises(DataError, match="a loader worker ended"):
        next(batches)


def test_every_image_comes_once_before_any_comes_again(tmp_path: Path) -> None:
    for number in range(10):  # flat images that differ in brightness
        Image.new("RGB", (16, 16), (25 * number,) * 3).save(tmp_path / f"{number}.png")
    manifest = load_manifest(tmp_path)
    views = v2_views(manifest, augmentation="small-images", image_size=8, batch_size=5, workers=0)
    dataset = views._loader.dataset  # type: ignore[union-attr]
    order = list(islice(iter(views._loader.sampler), 30))  # type: ignore[union-attr]
    assert [sorted(order[first : first + 10]) for first in (0, 10, 20)] == [list(range(10))] * 3
    assert order[:10] != order[10:20]
    assert dataset.__getitems__([3])[0][2] == -1
    views.close()
