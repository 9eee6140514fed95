"""`vicreg-fast pretrain` on ranks that it starts itself: one is killed, all are told to stop, two nodes go
on with the run, and its weights are those of a run that nothing happened to.

The launcher is this process, or a rank of a world: importing torch for it would take seconds.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.builtin_set import make_builtin_set
from tests.distributed.pretraining import pretrained
from tests.distributed.worlds import World
from tests.training.runs import TINY, assert_same_weights, metrics
from vicreg_fast.cli import main
from vicreg_fast.distributed.launch import LaunchPlan, launch
from vicreg_fast.training.checkpoint import load_checkpoint

# Of files to which torch's agent redirects ranks, and which it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

STEPS = 18
LAUNCHERS_OWN = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TORCH_CPP_LOG_LEVEL",
    "TORCHELASTIC_SIGNALS_TO_HANDLE",
)


def as_node(command: list[str], endpoint: str, folder: Path, environment: dict[str, str]) -> int | None:
    """On a rank of a world: one node of two, which starts one rank."""
    os.environ.update(environment)
    plan = LaunchPlan(ranks=1, nodes=2, endpoint=endpoint)
    return launch(plan, command, folder=folder, tell=print)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def rank_1() -> psutil.Process:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if child.environ().get("RANK") == "1":
                return child
    raise AssertionError("no process is rank 1")


class Events(threading.Thread):
    """Kills rank 1 after five steps, and interrupts this process some steps after the restart."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log
        self.happened: list[str] = []
        self.until = time.monotonic() + 240

    def run(self) -> None:
        if not self.wait_for(lambda: self.logged(5)):
            return
        rank_1().kill()
        self.happened.append("killed")
        before = self.log.stat().st_ino  # a run that goes on writes its log anew
        if not self.wait_for(lambda: self.log.stat().st_ino != before and self.logged(8)):
            return
        self.happened.append("interrupted")
        os.kill(os.getpid(), signal.SIGINT)

    def logged(self, steps: int) -> bool:
        return self.log.exists() and self.log.read_bytes().count(b"\n") >= steps

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        while time.monotonic() < self.until:
            if condition():
                return True
            time.sleep(0.005)
        return False


@pytest.mark.slow
def test_killed_stopped_and_taken_over_by_two_nodes_is_the_run_that_nothing_happened_to(
    pair: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = {"VICREG_FAST_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    for name in LAUNCHERS_OWN:  # so that they are as before, in the end
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    images = make_builtin_set(tmp_path / "set", train=36, test=10, size=(40, 36))
    recipe = TINY.replace(
        pipeline="dali",
        max_steps=STEPS,
        epochs=STEPS,
        optimizer="lars",
        base_lr=0.3,
        log_every_steps=1,
        checkpoint_every_steps=3,
    )
    file = tmp_path / "tiny.toml"
    file.write_text(recipe.to_toml())
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = ["pretrain", "--device", "cpu", "--recipe", str(file), "--data", str(images), "--out", str(run)]

    # So that rank 1 is there to be killed, and the run goes on when it is interrupted.
    rank_command = [sys.executable, "-m", "tests.held_run", "1:0:6,0:1:12", *words, "--ranks", "2"]
    monkeypatch.setattr("vicreg_fast.commands.ranks.rank_command", lambda: rank_command)
    monkeypatch.setattr(sys, "argv", ["vicreg-fast", *words, "--ranks", "2"])
    events = Events(run / "metrics.jsonl")
    events.start()
    with pytest.raises(SystemExit) as ended:
        main()
    events.join()
    out, err = capfd.readouterr()
    assert events.happened == ["killed", "interrupted"], err
    assert ended.value.code == 130
    stopped_at = load_checkpoint(run / "checkpoint.pt")["step"]
    assert f"stopped at step {stopped_at} of {STEPS} and saved" in out
    assert 8 <= stopped_at <= 13, "several ranks stop a step after they were told"
    assert len(metrics(run)) == stopped_at
    said = [line for line in err.splitlines() if not line.startswith("step ")]
    assert said[0] == "training on cpu in fp32: the recipe has precision = 'fp32'"
    assert said[1] == "vicreg-fast: rank 1 was killed by SIGKILL; starting all ranks again (1 of 3)"
    assert said[2].startswith("restarted (1 of 3): resuming from step ")
    assert len(said) == 3, said
    assert list(run.glob("logs/*/agent.log"))

    command = [sys.executable, "-m", "vicreg_fast", *words]
    assert pair.run(as_node, command, f"127.0.0.1:{free_port()}", run, environment) == [None, None]
    pair.run(pretrained, file, images, whole)
    assert [line["step"] for line in metrics(run)] == list(range(1, STEPS + 1))
    assert metrics(run) == metrics(whole)
    assert_same_weights(run, whole)
    gc.collect()  # while the warnings are ignored
