"""The built-in set: the same bytes always, whole or not there, and never over a user's files."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import builtin_set as module
from pipelines.builtin_set import CLASSES, builtin_set, draw, make_builtin_set
from pipelines.manifest import load_splits
from pipelines.manifest_cache import cache_folder
from vicreg_fast.errors import DataError


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def images(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(root).items() if name.endswith(".jpg")}


def test_bytes_depend_on_seed_split_and_index_and_not_on_the_count(tmp_path: Path) -> None:
    first = images(make_builtin_set(tmp_path / "a", train=12, test=6, size=(32, 32)))
    again = images(make_builtin_set(tmp_path / "b", train=12, test=6, size=(32, 32)))
    fewer = images(make_builtin_set(tmp_path / "c", train=7, test=2, size=(32, 32)))
    other = images(make_builtin_set(tmp_path / "d", train=12, test=6, size=(32, 32), seed=1))
    assert first == again
    assert len(fewer) == 9
    assert fewer.items() <= first.items()
    assert not set(other.values()) & set(first.values())
    assert len(set(first.values())) == 18  # train and test share none


def test_classes_are_balanced_to_within_one_and_load_as_a_labelled_set(tmp_path: Path) -> None:
    splits = load_splits(make_builtin_set(tmp_path / "set", train=23, test=11, size=(24, 24)))
    for split, count in (("train", 23), ("test", 11)):
        manifest = splits[split]  # type: ignore[index]
        assert manifest.classes == tuple(sorted(CLASSES))
        counts = Counter(manifest.labels)
        assert sum(counts.values()) == count
        assert max(counts.values()) - min(counts[label] for label in range(len(CLASSES))) <= 1
        assert manifest.skipped == ()


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (20, 90)])
def test_any_size_is_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    root = make_builtin_set(tmp_path / "set", train=10, test=0, size=size)
    assert not (root / "test").exists()
    for path in root.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == (size, "RGB", "JPEG")
            assert np.asarray(image).std() > 3  # something is there


def test_the_classes_look_different_in_the_same_setting() -> None:
    drawn = [draw(label, np.random.default_rng(3), (48, 48)) for label in range(len(CLASSES))]
    assert all(image.shape == (48, 48, 3) and image.dtype == np.uint8 for image in drawn)
    for one in range(len(CLASSES)):
        for other in range(one):
            assert np.abs(drawn[one].astype(int) - drawn[other].astype(int)).mean() > 1


def test_a_second_call_keeps_every_file(tmp_path: Path) -> None:
    root = make_builtin_set(tmp_path / "set", train=5, test=5, size=(16, 16))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make_builtin_set(root, train=5, test=5, size=(16, 16)) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("content", [{"photo.jpg": b"mine"}, {"set.json": b"{torn"}, {"set.json": b"\xff"}])
def test_a_folder_with_anything_else_is_refused_and_left(content: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    for name, data in content.items():
        (root / name).write_bytes(data)
    with pytest.raises(DataError, match="is there already and is another set; name a new folder"):
        make_builtin_set(root, train=3, test=0, size=(16, 16))
    assert files(root) == content
    assert list(tmp_path.iterdir()) == [root]


def test_another_set_and_a_file_are_refused(tmp_path: Path) -> None:
    root = make_builtin_set(tmp_path / "set", train=3, test=0, size=(16, 16))
    with pytest.raises(DataError, match="is another set"):
        make_builtin_set(root, train=4, test=0, size=(16, 16))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is another set"):
        make_builtin_set(tmp_path / "file", train=3, test=0, size=(16, 16))
    with pytest.raises(DataError, match="cannot be written"):
        make_builtin_set(tmp_path / "file" / "set", train=3, test=0, size=(16, 16))
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(images(make_builtin_set(tmp_path / "empty", train=3, test=0, size=(16, 16)))) == 3


def test_an_interrupted_call_leaves_nothing_and_does_not_draw_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, lock, real = [0], threading.Lock(), module.draw

    def counted(*arguments: Any) -> Any:
        with lock:
            drawn[0] += 1
        return real(*arguments)

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "draw", counted)
    with pytest.raises(KeyboardInterrupt):
        make_builtin_set(tmp_path / "set", train=1500, test=0, size=(48, 48), progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert drawn[0] < 750


def test_a_full_disk_leaves_nothing_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match=r"set: cannot be written \(No space left on device\)$"):
        make_builtin_set(tmp_path / "set", train=3, test=0, size=(16, 16))
    assert list(tmp_path.iterdir()) == []


def test_two_that_draw_the_same_set_at_once_both_get_it(tmp_path: Path) -> None:
    root = tmp_path / "set"

    def another(done: int, total: int) -> None:
        if done == total:
            make_builtin_set(root, train=4, test=0, size=(16, 16))

    assert make_builtin_set(root, train=4, test=0, size=(16, 16), progress=another) == root
    assert len(images(root)) == 4
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"train": 0, "test": 0}, "ask for at least one"),
        ({"train": -1}, "ask for at least one"),
        ({"size": (15, 64)}, "15×64 is too small"),
        ({"size": (64, 70_000)}, "64×70000 is too large"),
        ({"seed": -1}, "seed -1; use 0 or more"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        make_builtin_set(tmp_path / "set", **{"train": 1, "test": 0, **options})
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICREG_FAST_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    root = builtin_set(train=2, test=1, size=(16, 18), seed=4)
    assert root == tmp_path / "elsewhere" / "builtin-v2-2-1-16x18-seed4"
    assert json.loads((root / "set.json").read_text())["size"] == [16, 18]
    monkeypatch.delenv("VICREG_FAST_CACHE")
    assert cache_folder().name == "vicreg-fast"
