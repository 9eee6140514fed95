"""Bad input gets one clear line and the right exit code, or works; no file of the user's is changed or
lost."""

import hashlib
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import TINY_OPTIONS, Run, refused


@pytest.fixture
def pretrain(run_here: Run, tmp_path: Path):  # type: ignore[no-untyped-def]
    def call(data: Path, *more: object, out: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return run_here("pretrain", "--data", data, "--out", out or tmp_path / "run", *TINY_OPTIONS, *more)

    return call


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_missing_and_empty_folders(pretrain, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    refused(pretrain(tmp_path / "nowhere"), 1, "nowhere", "--data")
    (tmp_path / "empty").mkdir()
    refused(pretrain(tmp_path / "empty"), 1, "empty")
    (tmp_path / "file.jpg").write_bytes(b"x")
    refused(pretrain(tmp_path / "file.jpg"), 1, "file.jpg", "not a folder")


def test_a_folder_with_one_image(pretrain, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "one").mkdir()
    shutil.copy(next(images.glob("train/*/*.jpg")), tmp_path / "one" / "a.jpg")
    refused(pretrain(tmp_path / "one"), 1, "one usable image", "at least 2")


def test_a_refused_run_leaves_nothing_that_refuses_the_mended_one(
    pretrain, images: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    refused(pretrain(images, "--set", "batch_size=41"), 1, "batch_size")
    assert not (tmp_path / "run").exists()
    assert pretrain(images, "--set", "batch_size=20").returncode == 0


@pytest.mark.parametrize("pipeline", ["dali", "torchvision"])
def test_every_kind_of_file_in_one_folder(pretrain, images: Path, tmp_path: Path, pipeline: str) -> None:  # type: ignore[no-untyped-def]
    """Grey, CMYK, RGBA, palette and 16-bit images work; what is broken is skipped, in one line that counts
    and names."""
    folder = tmp_path / "mixed bag ü"
    folder.mkdir()
    for number, path in enumerate(sorted(images.glob("train/*/*.jpg"))[:12]):
        shutil.copy(path, folder / f"name with spaces, ünïcode {number} 猫.jpg")
    photo = Image.open(folder / "name with spaces, ünïcode 0 猫.jpg").copy()
    photo.convert("L").save(folder / "grey.jpg")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("RGBA").save(folder / "rgba.png")
    photo.convert("P").save(folder / "palette.png")
    Image.new("I;16", (40, 40), 30000).save(folder / "sixteen.png")
    whole = (folder / "name with spaces, ünïcode 1 猫.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("not a picture")
    before = digest(folder)
    done = pretrain(folder, "--pipeline", pipeline)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("step ")]
    assert len(lines) == 2, done.stderr
    assert lines[1].startswith("training on cpu in ")
    assert "3 of 20 files" in lines[0]
    assert "data check" in lines[0]
    assert digest(folder) == before


def test_a_folder_of_broken_files_only(pretrain, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    (folder / "b.jpg").write_bytes(b"junk")
    refused(pretrain(folder), 1, "no usable image", "a.jpg")


def test_a_run_folder_that_is_not_ours(pretrain, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.tex").write_text("precious")
    refused(pretrain(images, out=mine), 2, "thesis", "--out")
    assert digest(mine).keys() == {"chapter.tex"}
    (tmp_path / "file").write_text("precious")
    refused(pretrain(images, out=tmp_path / "file"), 2, "file", "--out")
    # A path below a file cannot be made, not even by root, whom permissions do not stop.
    refused(pretrain(images, out=tmp_path / "file" / "run"), 1, "run", "--out")


def test_a_run_of_another_recipe_and_another_architecture(
    pretrain, run_here: Run, images: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    assert pretrain(images).returncode == 0
    before = digest(tmp_path / "run")
    refused(pretrain(images, "--set", "width=8"), 1, "width", "4", "8", "--out")
    assert digest(tmp_path / "run") == before

    import torch

    checkpoint = tmp_path / "run" / "checkpoint.pt"
    content = torch.load(checkpoint, weights_only=True)
    content["recipe"]["width"] = 8
    torch.save(content, tmp_path / "other.pt")
    refused(
        run_here("linear", tmp_path / "other.pt", "--data", images), 1, "other.pt", "another architecture"
    )
    (tmp_path / "torn.pt").write_bytes(checkpoint.read_bytes()[:1000])
    refused(run_here("linear", tmp_path / "torn.pt", "--data", images), 1, "torn.pt", "whole checkpoint")
    refused(run_here("linear", tmp_path, "--data", images), 1, "checkpoint.pt", "pretrain")

    other = tmp_path / "other images"
    shutil.copytree(images, other)
    next(other.glob("train/*/*.jpg")).unlink()
    checkpoint.write_bytes(checkpoint.read_bytes())
    done = pretrain(other, "--set", "name=again")
    refused(done, 1, "data set")


def test_linear_without_labels(pretrain, run_here: Run, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in images.glob("train/*/*.jpg"):
        shutil.copy(path, flat / path.name)
    assert pretrain(flat).returncode == 0
    refused(run_here("linear", tmp_path / "run", "--data", flat), 2, "flat", "classes")


def test_a_full_disk_while_saving(images: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """A limit on file size stands in for the disk: the checkpoint does not fit, the metrics do."""
    command = [sys.executable, "-m", "vicreg_fast", "pretrain", "--data", str(images)]
    command += ["--out", str(tmp_path / "run"), "--pipeline", "dali", *TINY_OPTIONS]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=240,
        preexec_fn=small_files,
    )
    refused(done, 1, "checkpoint.pt", "cannot be written")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "metrics.jsonl",
        "recipe.toml",
        "sessions.jsonl",
    ]


def test_report_of_what_is_no_record(run_here: Run, tmp_path: Path) -> None:
    refused(run_here("report", tmp_path / "none.jsonl"), 1, "none.jsonl")
    (tmp_path / "text.jsonl").write_text("hello\n")
    refused(run_here("report", tmp_path / "text.jsonl"), 1, "text.jsonl")
