import json
from pathlib import Path

import pytest
from PIL import Image

from pipelines.image_check import check_image
from pipelines.manifest import load_manifest, load_splits
from pipelines.manifest_cache import cache_folder
from vicreg_fast.errors import DataError


def save(path: Path, color: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), (color, 0, 0)).save(path)
    return path


def hollow(path: Path) -> Path:
    """A JPEG of good header and end whose Huffman tables are nonsense."""
    save(path)
    whole = bytearray(path.read_bytes())
    table = whole.index(b"\xff\xc4") + 5
    whole[table : table + 16] = b"\xff" * 16
    path.write_bytes(bytes(whole))
    return path


def test_train_and_test_folders_are_splits(tmp_path: Path) -> None:
    for name in ("train/cat/1.jpg", "train/dog/deep/2.png", "train/dog/3.jpg", "val/cat/4.jpg"):
        save(tmp_path / name)
    splits = load_splits(tmp_path)
    train, test = splits["train"], splits["test"]
    assert train.files == ("cat/1.jpg", "dog/3.jpg", "dog/deep/2.png")
    assert train.labels == (0, 1, 1)
    assert train.classes == ("cat", "dog")
    assert (train.heights[0], train.widths[0], train.formats) == (10, 20, ("JPEG", "JPEG", "PNG"))
    assert test.files == ("cat/4.jpg",)
    assert train.images_by_class() == {"cat": 1, "dog": 2}
    assert train.description()["classes"] == "2"
    assert train.summary() == ""


def test_class_folders_alone_are_a_train_split(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.jpg")
    save(tmp_path / "dog" / "1.jpg")
    (tmp_path / "README.md").write_text("about the set")
    (tmp_path / "no images of this class").mkdir()
    manifest = load_manifest(tmp_path)
    assert manifest.classes == ("cat", "dog")
    assert not manifest.skipped
    with pytest.raises(DataError, match=r"no test/ or val/ folder"):
        load_manifest(tmp_path, split="test")
    assert list(load_splits(tmp_path)) == ["train"]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "1.jpg")
    save(tmp_path / ".hidden.jpg")
    manifest = load_manifest(tmp_path)
    assert (manifest.files, manifest.labels, manifest.classes) == (("1.jpg",), (-1,), ())
    assert manifest.images_by_class() == {"(no labels)": 1}


def test_usable_formats_are_all_kept(usable: list[str], tmp_path: Path) -> None:
    for check in ("quick", "full"):
        manifest = load_manifest(tmp_path, check=check)  # type: ignore[arg-type]
        assert sorted(manifest.files) == sorted(usable)
        assert not manifest.skipped


@pytest.mark.parametrize("check", ["quick", "full"])
def test_unusable_files_are_skipped_with_their_reasons(
    check: str, unusable: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "good.jpg")
    before = {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    manifest = load_manifest(tmp_path, check=check)  # type: ignore[arg-type]
    assert manifest.files == ("good.jpg",)
    reasons = {skip.name: skip.reason for skip in manifest.skipped}
    assert reasons.keys() == unusable.keys()
    for name, word in unusable.items():
        assert word in reasons[name], name
    assert manifest.summary().startswith(f"{len(unusable)} of {len(unusable) + 1} files skipped, first: ")
    assert "data check" in manifest.summary()
    assert "\n" not in manifest.summary()
    assert {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_only_a_full_check_decodes_a_jpeg(tmp_path: Path) -> None:
    path = hollow(tmp_path / "1.jpg")
    assert check_image(path, full=False).reason is None
    assert check_image(path, full=True).reason is not None


def test_an_unreadable_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "1.jpg")
    locked = save(tmp_path / "2.jpg")
    opened = Path.open

    def refuse(self: Path, *args: object, **options: object) -> object:
        # a superuser, who often runs the tests, may read whatever its mode
        if self == locked:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    (skip,) = load_manifest(tmp_path).skipped
    assert skip.reason == "cannot be read (Permission denied)"
    monkeypatch.undo()
    assert len(load_manifest(tmp_path)) == 2  # a refusal is not remembered: rights change without a trace


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.write_text("x"), "is a file, not a folder"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: (root / "train").mkdir(parents=True), "train: the folder is empty"),
        (lambda root: save(root / "test" / "a" / "1.jpg"), "no train/ folder"),
        (lambda root: (root.mkdir(), (root / "a.txt").write_text("x")), "no usable image among 1 files"),
    ],
)
def test_folders_that_cannot_be_used(make: object, message: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        load_manifest(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_image_cannot_be_pretrained_on(tmp_path: Path) -> None:
    save(tmp_path / "1.jpg")
    with pytest.raises(DataError, match="at least 2"):
        load_manifest(tmp_path).require_batch(1)


def test_the_fingerprint_is_of_names_and_sizes(tmp_path: Path) -> None:
    for place in ("one", "two"):
        save(tmp_path / place / "a" / "1.jpg")
        save(tmp_path / place / "a" / "2.jpg")
    first, second = load_manifest(tmp_path / "one"), load_manifest(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    (tmp_path / "two" / "a" / "1.jpg").rename(tmp_path / "two" / "a" / "0.jpg")
    assert load_manifest(tmp_path / "two").fingerprint != first.fingerprint


def test_progress_ends_at_the_number_of_files(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"{number}.jpg")
    seen: list[tuple[int, int]] = []
    load_manifest(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    load_manifest(tmp_path, progress=lambda done, total: pytest.fail("all verdicts were cached"))


def cache_file() -> Path:
    (path,) = (cache_folder() / "manifests").iterdir()
    return path


def test_a_changed_file_is_checked_again(tmp_path: Path) -> None:
    save(tmp_path / "1.jpg")
    path = save(tmp_path / "2.jpg")
    load_manifest(tmp_path)
    path.write_bytes(b"")
    assert [skip.name for skip in load_manifest(tmp_path).skipped] == ["2.jpg"]


def test_a_quick_verdict_does_not_stand_for_a_full_one(tmp_path: Path) -> None:
    hollow(tmp_path / "1.jpg")
    save(tmp_path / "2.jpg")
    assert len(load_manifest(tmp_path)) == 2
    assert len(load_manifest(tmp_path, check="full")) == 1
    assert len(load_manifest(tmp_path)) == 1  # what was once found out is used


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"version": "0"}', b"\xff\xfe\x00", "wrong entries", "wrong root"],
)
def test_a_bad_cache_is_ignored_and_rewritten(content: str | bytes, tmp_path: Path) -> None:
    path = save(tmp_path / "1.jpg")
    path.write_bytes(b"")
    save(tmp_path / "2.jpg")
    load_manifest(tmp_path)
    good = json.loads(cache_file().read_text())
    if content == "wrong entries":
        forged = {
            **good,
            "files": {name: [*entry[:2], True, 5, "x", None, 3] for name, entry in good["files"].items()},
        }
        content = json.dumps(forged)
    elif content == "wrong root":
        content = json.dumps({**good, "root": "/elsewhere", "files": {}})
    cache_file().write_bytes(content if isinstance(content, bytes) else content.encode())
    manifest = load_manifest(tmp_path)
    assert manifest.files == ("2.jpg",)
    assert json.loads(cache_file().read_text()) == good


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_of_its_own: Path
) -> None:
    blocked = cache_of_its_own / "a file"
    blocked.write_text("in the way")
    monkeypatch.setenv("VICREG_FAST_CACHE", str(blocked))
    save(tmp_path / "1.jpg")
    assert len(load_manifest(tmp_path)) == 1
    assert [path.name for path in cache_of_its_own.iterdir()] == ["a file"]
