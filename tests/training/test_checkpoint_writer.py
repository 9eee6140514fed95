"""Checkpoints written beside the training hold the state of their moment; as many stay as are to be kept."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vicreg_fast.errors import CheckpointError
from vicreg_fast.training import checkpoint_writer
from vicreg_fast.training.checkpoint import load_checkpoint
from vicreg_fast.training.checkpoint_writer import CheckpointWriter
from vicreg_fast.training.snapshot import Snapshot


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def saved_value(path: Path) -> float:
    return float(load_checkpoint(path)["weights"][0])


def test_a_snapshot_is_of_its_moment() -> None:
    weights = torch.ones(3)
    snapshot = Snapshot({"a": {"weights": weights}, "list": [weights, 2], "step": 7, "none": None})
    weights.zero_()
    content = snapshot.content()
    assert torch.equal(content["a"]["weights"], torch.ones(3))
    assert (content["list"][1], content["step"], content["none"]) == (2, 7, None)


@pytest.mark.gpu
def test_a_snapshot_of_a_gpu_is_of_its_moment_and_the_host_does_not_wait() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    weights = torch.ones(1 << 24, device="cuda")
    torch.cuda.synchronize()
    torch.cuda._sleep(10_000_000_000)  # some seconds of a step that is still queued
    asleep = torch.cuda.Event()
    asleep.record()
    snapshot = Snapshot({"weights": weights})
    weights.zero_()
    assert not asleep.query()
    content = snapshot.content()["weights"]
    assert content.device.type == "cpu"
    assert bool((content == 1).all())


def test_training_goes_on_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    real = checkpoint_writer.save_checkpoint

    def slow(path: Path, content: dict[str, Any], **named: Any) -> None:
        assert gate.wait(30)
        real(path, content, **named)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", slow)
    writer = CheckpointWriter(tmp_path / "checkpoint.pt")
    weights: Tensor = torch.ones(2)
    writer.save({"weights": weights}, 1)
    weights.fill_(5.0)  # the next step, before anything is written
    assert not (tmp_path / "checkpoint.pt").exists()
    gate.set()
    writer.wait()
    assert saved_value(tmp_path / "checkpoint.pt") == 1.0
    assert names(tmp_path) == ["checkpoint.pt"]


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "checkpoint.pt", keep=2)
    for step, best in ((1, True), (2, True), (3, False), (4, False)):
        writer.save({"weights": torch.full((2,), float(step))}, step, best=best)
    writer.wait()
    assert names(tmp_path) == [
        "best.pt",
        "checkpoint.pt",
        "checkpoints/step-00000003.pt",
        "checkpoints/step-00000004.pt",
    ]
    found = {name: saved_value(tmp_path / name) for name in names(tmp_path)}
    assert list(found.values()) == [2.0, 4.0, 3.0, 4.0]


def test_a_run_that_was_set_back_writes_over_the_later_ones(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "checkpoint.pt", keep=2)
    for step in (1, 2, 3):
        writer.save({"weights": torch.full((2,), float(step))}, step)
    (tmp_path / "checkpoints" / "notes.txt").write_text("a user's")
    for step in (1, 2):  # from a checkpoint before the first of these
        writer.save({"weights": torch.full((2,), 10.0 + step)}, step)
    writer.wait()
    folder = tmp_path / "checkpoints"
    assert names(folder) == ["notes.txt", *(f"step-0000000{step}.pt" for step in (1, 2, 3))]
    assert [saved_value(folder / f"step-0000000{step}.pt") for step in (1, 2, 3)] == [11.0, 12.0, 3.0]


def test_a_kill_before_the_rename_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    writer = CheckpointWriter(tmp_path / "checkpoint.pt", keep=3)
    writer.save({"weights": torch.full((2,), 1.0)}, 1)
    writer.wait()
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if target == tmp_path / "checkpoint.pt":
            raise Killed
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    writer.save({"weights": torch.full((2,), 2.0)}, 2)
    with pytest.raises(Killed):
        writer.wait()
    assert saved_value(tmp_path / "checkpoint.pt") == 1.0  # a resumed run does step 2 again
    assert saved_value(tmp_path / "checkpoints" / "step-00000002.pt") == 2.0


def test_a_disk_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(checkpoint_writer.os, "link", refused)
    writer = CheckpointWriter(tmp_path / "checkpoint.pt", keep=2)
    writer.save({"weights": torch.ones(2)}, 1, best=True)
    writer.wait()
    assert len(names(tmp_path)) == 3
    assert all(saved_value(tmp_path / name) == 1.0 for name in names(tmp_path))


def test_a_failure_is_told_at_the_next_save_and_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = CheckpointWriter(tmp_path / "file" / "checkpoint.pt")
    writer.save({"weights": torch.ones(2)}, 1)
    with pytest.raises(CheckpointError, match="cannot be written"):
        writer.save({"weights": torch.ones(2)}, 2)
    writer.wait()
    writer.save({"weights": torch.ones(2)}, 3)
    writer.close()


def test_older_ones_that_cannot_be_kept_are_said_and_the_latest_stands(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("not a folder")
    writer = CheckpointWriter(tmp_path / "checkpoint.pt", keep=2)
    writer.save({"weights": torch.ones(2)}, 1)
    with pytest.raises(CheckpointError, match=r"older checkpoints cannot be kept .*; the latest is written"):
        writer.wait()
    assert saved_value(tmp_path / "checkpoint.pt") == 1.0
