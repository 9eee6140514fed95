"""`--trace` and `--tensorboard`, as a user asks for them."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from tests.cli.conftest import TINY_OPTIONS
from vicreg_fast.commands.observers import Observers
from vicreg_fast.commands.pretrain import command
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.training.loop import Progress


def pretrain(images: Path, out: Path, *more: str) -> Result:
    arguments = ["--data", str(images), "--out", str(out), "--pipeline", "dali", "--device", "cpu"]
    return CliRunner().invoke(command, [*arguments, *TINY_OPTIONS, *more])


def test_a_run_with_both_writes_them_into_its_folder_and_says_so(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard (extra: profile)")
    done = pretrain(images, tmp_path / "run", "--trace", "--tensorboard", "--set", "epochs=5")
    assert done.exception is None, done.output
    assert [path.name for path in (tmp_path / "run" / "trace").iterdir()] == ["rank_0.20.pt.trace.json.gz"]
    assert len(list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))) == 1
    lines = done.stdout.splitlines()
    where = lines.index(f"trace: {tmp_path}/run/trace/rank_0.20.pt.trace.json.gz")
    assert re.fullmatch(r"steps 20 to 24: [0-9.]+ ms each", lines[where + 1])
    words = [line.split()[0] for line in lines[where + 2 :]]
    assert words == ["pipeline", "forward", "backward", "optimizer", "outside"]
    first, *others = done.stderr.splitlines()
    assert first.startswith("training on cpu in ")
    assert all(line.startswith("step ") for line in others), done.stderr


def test_a_session_that_is_too_short_for_a_trace_says_so(images: Path, tmp_path: Path) -> None:
    done = pretrain(images, tmp_path / "run", "--trace", "--set", "max_steps=2")
    assert done.exception is None, done.output
    assert "no trace: the session ended before step 20" in done.stdout
    assert not (tmp_path / "run" / "trace").exists()


def test_tensorboard_without_the_package_is_refused_before_anything_is_made(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = pretrain(images, tmp_path / "run", "--tensorboard")
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith("--tensorboard: the package tensorboard is not installed")
    assert not (tmp_path / "run").exists()


def a_trainer(note: str | None) -> Any:
    return SimpleNamespace(
        step=0,
        seconds=0.0,
        total_steps=100,
        steps_per_epoch=10,
        recipe=Recipe(precision="fp32"),
        precision_why="it is asked for",
        device=torch.device("cpu"),
        train_step=SimpleNamespace(capture_note=note),
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_why_a_step_is_not_captured_is_said_once(
    rank: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = a_trainer(None)
    cpu = torch.device("cpu")
    with Observers(tmp_path, cpu, rank=rank, tensorboard=False, trace=False) as observers:
        observers.start(trainer)
        capsys.readouterr()  # on what it trains
        for step in range(1, 5):
            if step == 3:  # a capture fails after the warm-up
                trainer.train_step.capture_note = "the step runs eagerly: its capture failed"
            observers.update(Progress(step=step, total_steps=100, epoch=0))
    said = ["vicreg-fast: the step runs eagerly: its capture failed"] if rank == 0 else []
    assert capsys.readouterr().err.splitlines() == said
