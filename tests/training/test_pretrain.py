"""A run in its folder: what is written when, and what of it survives a stop, a failure and a kill."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from pipelines.manifest import Manifest
from tests.training.runs import CPU, assert_same_weights, metrics, run, weights
from vicreg_fast.config import Recipe
from vicreg_fast.errors import CheckpointError, TrainingError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training import checkpoint_writer
from vicreg_fast.training import step as step_module
from vicreg_fast.training.checkpoint import load_checkpoint
from vicreg_fast.training.loop import Progress
from vicreg_fast.training.pretrain import pretrain
from vicreg_fast.training.run_folder import RunFolder


def watch_saves(monkeypatch: pytest.MonkeyPatch, saved: list[int]) -> None:
    """Notes the step of every checkpoint that is written from now on."""
    real = checkpoint_writer.save_checkpoint

    def noted(path: Path, content: dict[str, Any], **named: Any) -> None:
        saved.append(content["step"])
        real(path, content, **named)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", noted)


@pytest.mark.parametrize("pipeline", ["torchvision", "dali"])
def test_stops_at_several_steps_lose_no_line_and_no_bit(
    pipeline: str, tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    recipe = tiny.replace(pipeline=pipeline)
    run(recipe, manifest, tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "whole")] == [3, 6, 9, 12]
    for stop_at in (2, 6, 11):  # between two log steps, at one, and just before the end
        stopped = run(recipe, manifest, tmp_path / "stopped", stop_at)
        assert stopped.step == load_checkpoint(tmp_path / "stopped" / "checkpoint.pt")["step"] == stop_at
    assert run(recipe, manifest, tmp_path / "stopped").step == 12
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    assert_same_weights(tmp_path / "stopped", tmp_path / "whole")
    names = {"recipe.toml", "metrics.jsonl", "checkpoint.pt"}
    assert {entry.name for entry in (tmp_path / "stopped").iterdir()} == names


def test_a_finished_run_is_left_as_it_is(tiny: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    recipe = tiny.replace(max_steps=3)
    run(recipe, manifest, tmp_path / "run")
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "run").iterdir()}
    assert run(recipe, manifest, tmp_path / "run").step == 3
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "run").iterdir()} == before


def test_checkpoints_come_at_epochs_ends_and_every_so_many_steps(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    watch_saves(monkeypatch, saved)
    run(tiny.replace(max_steps=10), manifest, tmp_path / "a")
    assert saved == [4, 8, 10]
    saved.clear()
    run(tiny.replace(max_steps=10, checkpoint_every_steps=3), manifest, tmp_path / "b")
    assert saved == [3, 4, 6, 8, 9, 10]


def test_lines_after_the_checkpoint_and_a_torn_one_are_written_again(
    tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    recipe = tiny.replace(log_every_steps=1, max_steps=7)
    run(recipe, manifest, tmp_path / "whole")
    path = tmp_path / "killed"
    run(recipe, manifest, path, stop_at=4)
    with (path / "metrics.jsonl").open("a") as file:  # as a run killed after step 6 leaves it
        file.write('{"step": 5, "loss": -1.0}\n{"step": 6, "loss": -1.0}\n{"step": 7, "lo\xff')
    run(recipe, manifest, path)
    assert metrics(path) == metrics(tmp_path / "whole")
    assert [line["step"] for line in metrics(path)] == [1, 2, 3, 4, 5, 6, 7]


def broken_at(step: int, kind: str) -> Callable[[Recipe], Any]:
    real, calls = step_module.recipe_loss, 0

    def make(recipe: Recipe) -> Any:
        def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
            nonlocal calls
            calls += 1
            value, terms = real(recipe)(x, y)
            if calls == step:
                value = value * math.nan if kind == "value" else value + (0 * x).sum().sqrt()
            return value, terms

        return loss

    return make


@pytest.mark.parametrize("kind", ["value", "gradient"])
@pytest.mark.parametrize("every", [0, 1], ids=["epochs only", "every step"])
def test_trouble_between_log_steps_names_the_last_good_checkpoint_and_keeps_it(
    every: int, kind: str, tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.replace(log_every_steps=12, checkpoint_every_steps=every)
    monkeypatch.setattr(step_module, "recipe_loss", broken_at(7, kind))
    good = 6 if every else 4
    with pytest.raises(TrainingError, match="not finite") as caught:
        run(recipe, manifest, tmp_path / "run")
    message = str(caught.value)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert message.endswith(f"the last good checkpoint, of step {good}, is {checkpoint}")
    assert message.startswith(f"step {7 if every else 8}: ")
    assert "\n" not in message
    assert load_checkpoint(checkpoint)["step"] == good
    assert all(bool(w.isfinite().all()) for w in weights(tmp_path / "run").values())


def collapsed_from(step: int, until: int = 10**6, **signs: float) -> Callable[[Recipe], Any]:
    """The recipe's loss, whose terms show `signs` in those calls, or all dimensions dead."""
    real, calls = step_module.recipe_loss, 0
    signs = signs or {"std_mean": 0.0, "dead_fraction": 1.0}

    def make(recipe: Recipe) -> Any:
        def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
            nonlocal calls
            calls += 1
            value, terms = real(recipe)(x, y)
            if step <= calls <= until:
                shown = {name: 0 * value.detach() + sign for name, sign in signs.items()}
                terms = terms._replace(**shown)
            return value, terms

        return loss

    return make


def test_collapsed_embeddings_end_the_run_at_the_last_good_checkpoint(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.replace(log_every_steps=1, checkpoint_every_steps=1, collapse_patience=4)
    monkeypatch.setattr(step_module, "recipe_loss", collapsed_from(6))
    with pytest.raises(TrainingError, match="step 9: the embeddings have collapsed") as caught:
        run(recipe, manifest, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert str(caught.value).endswith(f"the last good checkpoint, of step 5, is {checkpoint}")
    assert load_checkpoint(checkpoint)["step"] == 5
    # the last line is of the step that the message names
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 10))


def test_a_run_that_ends_while_it_looks_collapsed_says_so(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.replace(log_every_steps=1, collapse_patience=5)
    monkeypatch.setattr(step_module, "recipe_loss", collapsed_from(11))
    with pytest.raises(TrainingError, match=r"step 12: .* for 2 logged steps .* of step 8, is "):
        run(recipe, manifest, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 8
    assert run(recipe.replace(collapse_patience=0), manifest, tmp_path / "run").saved_step == 12


def test_a_resumed_run_knows_that_its_embeddings_had_a_rank(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.replace(log_every_steps=1, checkpoint_every_steps=1, collapse_patience=2)
    run(recipe, manifest, tmp_path / "run", stop_at=2)
    monkeypatch.setattr(step_module, "recipe_loss", collapsed_from(1, effective_rank=1.0))
    with pytest.raises(TrainingError, match=r"step 4: .* they lie on one line"):
        run(recipe, manifest, tmp_path / "run")


def test_what_looked_collapsed_and_recovered_is_saved_again(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.replace(log_every_steps=1, checkpoint_every_steps=1, collapse_patience=4)
    monkeypatch.setattr(step_module, "recipe_loss", collapsed_from(6, until=8))
    stopped = run(recipe, manifest, tmp_path / "run", stop_at=7)
    assert (stopped.step, stopped.saved_step) == (7, 5)
    monkeypatch.setattr(step_module, "recipe_loss", collapsed_from(1, until=3))
    assert run(recipe, manifest, tmp_path / "run").saved_step == 12


def test_checkpoints_by_the_clock(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    watch_saves(monkeypatch, saved)
    run(tiny.replace(max_steps=3, checkpoint_every_minutes=1e-9), manifest, tmp_path / "always")
    assert saved == [1, 2, 3]
    saved.clear()
    run(tiny.replace(max_steps=3, checkpoint_every_minutes=60.0), manifest, tmp_path / "never")
    assert saved == [3]


def test_ranks_that_agree_a_step_later_save_once_each_time(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneStepLater:
        """As several ranks are answered."""

        def __init__(self, _: Any, questions: int) -> None:
            self.pending = (False,) * questions

        def ask(self, *asked: bool) -> tuple[bool, ...]:
            answers, self.pending = self.pending, asked
            return answers

        def settle(self) -> None:
            pass

    now, saved = 0.0, list[int]()
    monkeypatch.setattr("vicreg_fast.training.loop.Agreement", OneStepLater)
    monkeypatch.setattr("vicreg_fast.training.pretrain.time.monotonic", lambda: now)
    watch_saves(monkeypatch, saved)

    def after_step(progress: Progress) -> None:
        nonlocal now
        now = 60.0 * progress.step  # a minute each

    recipe = tiny.replace(batch_size=2, max_steps=12, checkpoint_every_minutes=4.0)
    with RunFolder(tmp_path / "run", recipe) as folder:
        pretrain(recipe, manifest, folder, CPU, on_step=after_step)
    assert saved == [6, 12]  # due after step 4, asked before 5, answered before 6


def test_the_best_is_the_one_of_the_lowest_loss(tiny: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    recipe = tiny.replace(log_every_steps=1, checkpoint_every_steps=1, keep_checkpoints=12)
    for stop_at in (4, 9, None):  # the lowest so far is remembered by what is resumed
        run(recipe, manifest, tmp_path / "run", stop_at)
    losses = [
        load_checkpoint(path)["smoothed_loss"]
        for path in sorted((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    ]
    assert len(losses) == 12
    best = load_checkpoint(tmp_path / "run" / "best.pt")
    assert best["smoothed_loss"] == min(losses)
    assert best["step"] == 1 + losses.index(min(losses))


def test_trouble_before_any_checkpoint_says_so(
    tiny: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "recipe_loss", broken_at(2, "value"))
    with pytest.raises(TrainingError, match=r"step 3: .*; there is no checkpoint yet$"):
        run(tiny, manifest, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_folder_of_another_recipe_is_refused_and_kept(
    tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    run(tiny.replace(max_steps=1), manifest, tmp_path / "run")
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "run").iterdir()}
    with pytest.raises(CheckpointError, match="was trained with max_steps = 1, not 2"):
        run(tiny.replace(max_steps=2), manifest, tmp_path / "run")
    (tmp_path / "run" / "recipe.toml").write_text("")  # only the checkpoint knows
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: was trained with width = 4, not 8"):
        run(tiny.replace(max_steps=1, width=8), manifest, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before["checkpoint.pt"]
