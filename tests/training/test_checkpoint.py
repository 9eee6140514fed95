"""Checkpoints are whole or not there, and only ours are taken."""

import errno
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from vicreg_fast.config import FREE_ON_RESUME, Recipe
from vicreg_fast.errors import CheckpointError
from vicreg_fast.training.checkpoint import (
    FORMAT_VERSION,
    checkpoint_recipe,
    load_checkpoint,
    require_same_recipe,
    save_checkpoint,
)


def content(value: float) -> dict[str, Any]:
    return {"recipe": Recipe(epochs=3).model_dump(), "step": 7, "weights": torch.full((40, 40), value)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, content(1.0))
    return path


def refused(path: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_saved_is_loaded_and_replaced(saved: Path) -> None:
    save_checkpoint(saved, content(2.0))
    loaded = load_checkpoint(saved)
    assert torch.equal(loaded["weights"], torch.full((40, 40), 2.0))
    assert loaded["step"] == 7
    assert checkpoint_recipe(loaded, saved) == Recipe(epochs=3)
    assert [entry.name for entry in saved.parent.iterdir()] == ["checkpoint.pt"]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_checkpoint(tmp_path / "checkpoint.pt", content(1.0))
    finally:
        os.umask(before)
    assert (tmp_path / "checkpoint.pt").stat().st_mode & 0o777 == 0o644


def test_what_a_killed_save_left_is_written_over(saved: Path) -> None:
    (saved.parent / ".checkpoint.pt-new").write_bytes(b"half of one")
    save_checkpoint(saved, content(2.0))
    assert [entry.name for entry in saved.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("where", ["torch.save", "fsync", "replace"])
def test_a_failure_at_any_point_keeps_the_one_before(
    where: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        if where == "torch.save":
            arguments[1].write(b"the beginning of a checkpoint")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner, name = {"torch.save": (torch, "save"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[where]
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(saved, content(2.0))
    assert str(caught.value) == (
        f"{saved}: cannot be written (No space left on device); the checkpoint before it is kept"
    )
    monkeypatch.undo()
    assert float(load_checkpoint(saved)["weights"][0, 0]) == 1.0
    assert [entry.name for entry in saved.parent.iterdir()] == ["checkpoint.pt"]


def test_a_stop_in_the_middle_of_saving_keeps_the_one_before(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, content(2.0))
    assert float(load_checkpoint(saved)["weights"][0, 0]) == 1.0
    assert [entry.name for entry in saved.parent.iterdir()] == ["checkpoint.pt"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from vicreg_fast.errors import CheckpointError
from vicreg_fast.training.checkpoint import load_checkpoint, save_checkpoint
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(path, {"weights": torch.zeros(400, 400)})
except CheckpointError as error:
    print(error)
print(float(load_checkpoint(path)["weights"][0, 0]))
"""


def test_a_file_that_really_cannot_grow_keeps_the_one_before(saved: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(saved)], capture_output=True, text=True, check=True
    )
    message, value = done.stdout.splitlines()
    assert message.startswith(f"{saved}: cannot be written (")
    assert message.endswith("the checkpoint before it is kept")
    assert value == "1.0"
    assert [entry.name for entry in saved.parent.iterdir()] == ["checkpoint.pt"]


def test_a_place_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written \(Not a directory\); free some space or"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", content(1.0))
    with pytest.raises(CheckpointError, match=r"cannot be written \(.+\); free some space or"):
        save_checkpoint(Path("/proc/checkpoint.pt"), content(1.0))  # refuses root too


def test_a_missing_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "no such checkpoint$")
    refused(tmp_path, "cannot be read .Is a directory.")


def test_a_torn_one_is_refused_wherever_it_is_cut(saved: Path) -> None:
    whole = saved.read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        saved.write_bytes(whole[:end])
        refused(saved, "is not a whole checkpoint")


def test_a_damaged_weight_is_refused(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    place = whole.index(torch.ones(100).numpy().tobytes())
    whole[place + 2] ^= 0x01
    saved.write_bytes(whole)
    assert torch.load(saved, weights_only=True)["step"] == 7  # torch does not notice
    refused(saved, "is not a whole checkpoint; it is damaged")


def test_random_bytes_and_random_damage_never_pass_as_another_content(saved: Path) -> None:
    whole, draw, outcomes = saved.read_bytes(), random.Random(0), set()
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= draw.randrange(1, 256)
        saved.write_bytes(damaged)
        try:
            loaded = load_checkpoint(saved)
        except CheckpointError:
            outcomes.add("refused")
        else:  # a byte of padding
            outcomes.add("whole")
            assert torch.equal(loaded["weights"], torch.ones(40, 40))
    assert "refused" in outcomes
    for size in (0, 1, 10, 1000):
        saved.write_bytes(draw.randbytes(size))
        refused(saved, "is not a whole checkpoint")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": torch.zeros(2)}, path)
    refused(path, "is not a vicreg-fast checkpoint$")
    torch.save(torch.zeros(2), path)
    refused(path, "is not a vicreg-fast checkpoint$")
    torch.save({"format": "vicreg-fast checkpoint"}, path)
    refused(path, "has no version")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "a zip of something else")
    refused(path, "another kind of file")


class Spy:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_run(legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    if legacy:
        path.write_bytes(pickle.dumps(Spy()))
    else:
        torch.save({"format": "vicreg-fast checkpoint", "format_version": 1, "x": Spy()}, path)
    refused(path, "is not a whole checkpoint")
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("change", "mend"),
    [(1, "a newer version of vicreg-fast; upgrade"), (-1, "an older version of vicreg-fast; start anew")],
)
def test_one_of_another_version_is_refused_with_the_mend(
    change: int, mend: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "vicreg_fast.training.checkpoint.FORMAT_VERSION"
    monkeypatch.setattr(version, FORMAT_VERSION + change)
    save_checkpoint(saved, content(1.0))
    monkeypatch.undo()
    refused(saved, f"is of {mend}")


@pytest.mark.parametrize("recipe", [None, {"epochs": 0}, {"hologram": 1}, "text"])
def test_a_recipe_that_cannot_be_read_is_said(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pt: its recipe cannot be read"):
        checkpoint_recipe({} if recipe is None else {"recipe": recipe}, tmp_path / "x.pt")


@pytest.mark.parametrize(("key", "value"), [("backbone", "resnet18"), ("base_lr", 0.1), ("seed", 5)])
def test_another_recipe_is_refused_by_the_key_that_differs(key: str, value: Any, tmp_path: Path) -> None:
    saved, asked = Recipe(), Recipe().replace(**{key: value})
    message = f"was trained with {key} = {getattr(saved, key)!r}, not {value!r}; choose another --out"
    with pytest.raises(CheckpointError, match=message):
        require_same_recipe(saved, asked, tmp_path)


def test_what_does_not_change_the_training_may_differ(tmp_path: Path) -> None:
    free = {
        "name": "x",
        "workers": 3,
        "pipeline": "dali",
        "log_every_steps": 1,
        "checkpoint_every_steps": 2,
        "checkpoint_every_minutes": 3.0,
        "keep_checkpoints": 4,
        "collapse_patience": 0,
        "decoder_cache": "off",
        "capture": "off",
        "parallel_views": "off",
        "keep_memory": "off",
        "probe_size": 8,
    }
    assert set(free) == FREE_ON_RESUME
    require_same_recipe(Recipe(), Recipe().replace(**free), tmp_path)
