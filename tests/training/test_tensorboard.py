"""`--tensorboard`, read back from its event files."""

import sys
from pathlib import Path

import pytest

from vicreg_fast.errors import CheckpointError, UsageError
from vicreg_fast.training.tensorboard import TensorBoardLog

METRICS = {
    "epoch": 0.5,
    "loss": 21.25,
    "invariance": 0.125,
    "std_mean": 0.5,
    "learning_rate": 0.25,
    "pairs_per_second": 128.0,
    "loader_wait_share": 0.0625,
    "seconds": 4.0,
}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the package tensorboard (extra: profile)",
    )
    events = reader.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_every_number_is_a_scalar_at_its_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard (extra: profile)")
    log = TensorBoardLog(tmp_path / "run" / "tensorboard", from_step=0)
    for step in (10, 20):
        log.log({"step": step, **METRICS})
    log.close()
    assert scalars(tmp_path / "run" / "tensorboard") == {
        tag: [(10, value), (20, value)]
        for tag, value in {
            "schedule/epoch": 0.5,
            "loss/loss": 21.25,
            "loss/invariance": 0.125,
            "embeddings/std_mean": 0.5,
            "schedule/learning_rate": 0.25,
            "speed/pairs_per_second": 128.0,
            "speed/loader_wait_share": 0.0625,
            "run/seconds": 4.0,
        }.items()
    }


def test_a_resumed_run_goes_on_without_the_lost_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard (extra: profile)")
    for from_step, steps, loss in ((0, (10, 20, 30), 1.0), (20, (30, 40), 2.0)):
        log = TensorBoardLog(tmp_path, from_step)
        for step in steps:
            log.log({"step": step, "loss": loss})
        log.close()
    assert scalars(tmp_path) == {"loss/loss": [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]}


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"^--tensorboard: .* pip install 'vicreg-fast\[profile\]'"):
        TensorBoardLog(tmp_path / "tensorboard", from_step=0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard (extra: profile)")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file/tensorboard: cannot be written \(.+\)$"):
        TensorBoardLog(tmp_path / "file" / "tensorboard", from_step=0)
