"""What one sees of a run: the live view on a terminal, plain lines in a log."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from vicreg_fast.commands import live_view
from vicreg_fast.commands.live_view import LiveView
from vicreg_fast.config import Recipe
from vicreg_fast.training.loop import Metrics, Progress

NUMBERS = {
    "epoch": "0.25/10",
    "loss": "21.3",
    "invariance": "0.1235",
    "variance": "0.661",
    "covariance": "0.0945",
    "lr": "0.012",
    "pairs/s": "12,346",
    "loader wait": "3%",
    "mean σ": "0.340",
    "dead": "819/8192",
    "rank": "123.4",
}


def metrics(step: int) -> Metrics:
    return {
        "step": step,
        "epoch": step / 100,
        "loss": 21.3,
        "invariance": 0.12345,
        "variance": 0.661,
        "covariance": 0.0945,
        "std_mean": 0.34,
        "std_min": 0.16,
        "dead_fraction": 0.1,
        "effective_rank": 123.4,
        "off_diagonal_energy": 0.78,
        "learning_rate": 0.012,
        "pairs_per_second": 12345.6,
        "loader_wait_share": 0.031,
        "seconds": 2.0 * step,
    }


def trainer(step: int = 0) -> Any:
    """What the view asks of a Trainer."""
    return SimpleNamespace(
        step=step,
        seconds=0.0,
        total_steps=1000,
        steps_per_epoch=100,
        recipe=Recipe(precision="bf16"),
        precision_why="it can",
        device=torch.device("cpu"),
    )


def console(width: int, *, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def feed(view: LiveView, first: int, last: int, log_every: int = 5) -> None:
    for step in range(first, last + 1):
        logs = step % log_every == 0 or step == 1000
        view.update(Progress(step=step, total_steps=1000, epoch=0, metrics=metrics(step) if logs else None))


def test_a_log_has_one_line_at_the_first_and_the_last_logged_step() -> None:
    on = console(80, terminal=False)
    with LiveView(console=on) as view:
        view.start(trainer())
        feed(view, 1, 4)
        assert written(on) == "training on cpu in bf16: it can\n"
        feed(view, 5, 28)
    lines = written(on).splitlines()[1:]
    assert [line.split("  ")[0] for line in lines] == ["step 5/1000", "step 25/1000"]
    shown = [f"{name} {value}" for name, value in NUMBERS.items()]
    assert lines[1].split("  ")[1:-2] == shown
    assert re.fullmatch(r"memory [0-9.]+ GiB", lines[1].split("  ")[-2])
    assert lines[1].endswith("  ETA 0:32:24")  # 972 steps of the 2 s that those before took


def test_a_log_has_at_most_a_line_every_30_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(live_view, "time", SimpleNamespace(monotonic=lambda: now))
    on = console(80, terminal=False)
    with LiveView(console=on) as view:
        view.start(trainer())
        for step in range(5, 1001, 5):
            feed(view, step, step)
            now += 1.0
    steps = [int(line.split("/")[0].removeprefix("step ")) for line in written(on).splitlines()[1:]]
    assert steps == [5, 155, 305, 455, 605, 755, 905, 1000]


def test_a_last_step_that_was_told_is_told_once() -> None:
    on = console(80, terminal=False)
    with LiveView(console=on) as view:
        view.start(trainer(step=999))
        feed(view, 1000, 1000)
    lines = written(on).splitlines()
    assert lines[0] == "resuming from step 999 of 1000 on cpu in bf16: it can"
    assert [line.split("  ")[0] for line in lines[1:]] == ["step 1000/1000"]
    assert lines[1].endswith("ETA 0:00:00")


@pytest.mark.parametrize("terminal", [True, False])
def test_other_ranks_and_finished_runs_show_nothing(terminal: bool) -> None:
    for shown, step in ((False, 0), (False, 10), (True, 1000)):
        on = console(80, terminal=terminal)
        with LiveView(shown=shown, console=on) as view:
            view.start(trainer(step))
            if step < 1000:
                feed(view, step + 1, 30)
        assert written(on) == ""
        assert view.first_step == step


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_terminal_shows_every_number_within_its_width(width: int) -> None:
    on = console(width, terminal=True)
    with LiveView(console=on) as view:
        view.start(trainer())
        feed(view, 1, 3)
        waiting = written(on)
        feed(view, 4, 28)
    assert "waiting for the first logged step" in waiting
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(on)).split("28/1000")[-1]
    seen = " ".join(last.split())
    for name, value in NUMBERS.items():
        assert f"{name} {value}" in seen, name
    assert "memory " in seen
    assert "ETA 0:32:24" in seen
    assert all(cell_len(line) <= width for line in last.splitlines())


def test_an_update_does_not_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is the refreshing thread's, however often the loop comes by."""
    monkeypatch.setattr(live_view, "REFRESHES_PER_SECOND", 0.01)
    on = console(80, terminal=True)
    with LiveView(console=on) as view:
        view.start(trainer())
        before = written(on)
        feed(view, 1, 20, log_every=1)
        assert written(on) == before
    assert "20/1000" in written(on).removeprefix(before)
