"""A run's folder keeps two runs, and a run and a user's files, apart."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.errors import CheckpointError, UsageError, VICRegFastError
from vicreg_fast.training.run_folder import RunFolder


def contents(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def refused(kind: type[VICRegFastError], reason: str, path: Path, recipe: Recipe | None = None) -> None:
    with pytest.raises(kind, match=reason) as caught:
        RunFolder(path, recipe or Recipe())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_new_folder_is_made_with_the_recipe_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with RunFolder(path, Recipe(seed=3)):
        assert list(contents(path)) == ["recipe.toml"]
    assert load_recipe(str(path / "recipe.toml")) == Recipe(seed=3)
    with RunFolder(path, Recipe(seed=3)):
        pass


def test_a_folder_with_other_files_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(UsageError, "holds other files and no run; name a new folder with --out", tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_file_and_a_place_below_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    refused(UsageError, "is a file; name a folder with --out", path)
    refused(CheckpointError, r"cannot be written \(Not a directory\)", path / "run")
    refused(CheckpointError, r"cannot be written \(.*\)", Path("/proc/run"))  # refuses root too
    refused(CheckpointError, r"cannot be written \(File name too long\)", tmp_path / ("n" * 300))
    assert path.read_text() == "mine"


def test_another_recipe_is_refused_by_its_key_and_changes_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", Recipe()).close()
    before = contents(tmp_path / "run")
    refused(CheckpointError, "trained with width = 64, not 8", tmp_path / "run", Recipe(width=8))
    assert contents(tmp_path / "run") == before
    RunFolder(tmp_path / "run", Recipe(workers=3, name="x")).close()  # these may differ


def test_a_recipe_that_the_user_put_there_is_never_rewritten(tmp_path: Path) -> None:
    mine = "# my best one so far\nepochs = 7\n"
    (tmp_path / "recipe.toml").write_text(mine)
    with RunFolder(tmp_path, load_recipe(str(tmp_path / "recipe.toml"))):
        pass
    assert (tmp_path / "recipe.toml").read_text() == mine


@pytest.mark.parametrize(
    "content", [b"epochs = ", b"\xff\xfe\x00", b"hologram = 1\n", b"epochs = 0\n", b"self = 1\n"]
)
def test_a_recipe_that_cannot_be_read_is_said_and_left(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(content)
    refused(CheckpointError, r"recipe\.toml: cannot be read \(.*name another folder with --out", tmp_path)
    assert contents(tmp_path) == {"recipe.toml": content}


def test_an_empty_recipe_is_what_a_killed_start_leaves_and_is_taken(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    RunFolder(tmp_path, Recipe(seed=4)).close()
    assert load_recipe(str(tmp_path / "recipe.toml")).seed == 4


def test_two_handles_never_train_in_one_folder_and_a_closed_one_frees_it(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, Recipe())
    refused(UsageError, "another process is training there; wait for it, or name another --out", tmp_path)
    first.close()
    RunFolder(tmp_path, Recipe()).close()


def test_a_refusal_frees_the_folder_again(tmp_path: Path) -> None:
    RunFolder(tmp_path, Recipe()).close()
    with pytest.raises(CheckpointError) as caught:
        RunFolder(tmp_path, Recipe(width=8))
    assert caught.value.__traceback__ is not None  # its frames are alive, and hold no lock
    RunFolder(tmp_path, Recipe()).close()


OTHER = """
import sys
from pathlib import Path
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.training.run_folder import RunFolder
try:
    RunFolder(Path(sys.argv[1]), Recipe())
except UsageError as error:
    print(error)
"""


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Recipe()):
        done = subprocess.run(
            [sys.executable, "-c", OTHER, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert "another process is training there" in done.stdout


def test_a_file_system_without_locks_is_not_mistaken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    refused(CheckpointError, r"cannot be locked \(No locks available\)", tmp_path)


def test_metrics_keep_the_lines_up_to_the_step_and_go_on_from_there(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Recipe()) as folder:
        (tmp_path / "metrics.jsonl").write_bytes(
            b'{"step": 2}\n{"step": 4}\nnot json\n[1]\n{"step": 6}\n{"loss": 1}\n{"step": 4, "lo\xff'
        )
        folder.start_metrics(4)
        folder.log({"step": 6, "loss": 0.5})
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()  # readable while the run goes on
    assert [json.loads(line) for line in lines] == [{"step": 2}, {"step": 4}, {"step": 6, "loss": 0.5}]
    assert set(contents(tmp_path)) == {"recipe.toml", "metrics.jsonl"}


def test_a_full_disk_while_logging_is_said_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Recipe())
    folder.metrics_file = Path("/dev/full")
    folder._metrics = folder.metrics_file.open("a")
    with pytest.raises(CheckpointError, match=r"/dev/full: cannot be written \(No space left on device\)$"):
        folder.log({"step": 1})
    folder.close()


def test_metrics_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Recipe()) as folder:
        (tmp_path / "metrics.jsonl").mkdir()
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
            folder.start_metrics(0)
        assert {entry.name for entry in tmp_path.iterdir()} == {"recipe.toml", "metrics.jsonl"}
