"""The loop: stopped and resumed it is bitwise the run that never stopped; what is not finite stops it."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import Manifest, load_manifest
from tests.training.steps import tensors_of
from tests.training.tape import TapeRecorder
from vicreg_fast.config import Recipe
from vicreg_fast.errors import CheckpointError, TrainingError, UsageError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training import loop
from vicreg_fast.training.checkpoint import load_checkpoint, save_checkpoint
from vicreg_fast.training.loop import Progress, Trainer
from vicreg_fast.training.schedule import recipe_learning_rate
from vicreg_fast.training.step import TrainingStep, recipe_loss

CPU = torch.device("cpu")


def assert_same(one: Any, other: Any, where: str = "state") -> None:
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


def whole_run(recipe: Recipe, manifest: Manifest) -> dict[str, Any]:
    trainer = Trainer(recipe, manifest, CPU)
    try:
        assert trainer.run()
        return trainer.state_dict()
    finally:
        trainer.close()


def test_a_closed_trainer_holds_no_graph(
    tiny: Recipe, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or NCCL, whose exchanges are in it, never ends."""
    recorder = TapeRecorder()
    monkeypatch.setattr(loop, "TrainingStep", partial(TrainingStep, recorder=recorder))
    trainer = Trainer(tiny.replace(pipeline="dali", optimizer="lars"), manifest, CPU)
    recorder.tensors = lambda: tensors_of(trainer.train_step)
    assert trainer.run(until=5)
    assert recorder.replayed == 2
    assert recorder.holders() > 0
    trainer.close()
    assert recorder.holders() == 0


@pytest.mark.parametrize("optimizer", ["lars", "adamw"])
@pytest.mark.parametrize("pipeline", ["torchvision", "dali"])
def test_stopped_and_resumed_is_bitwise_the_uninterrupted_run(
    pipeline: str, optimizer: str, tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    recipe = tiny.replace(pipeline=pipeline, optimizer=optimizer)
    expected = whole_run(recipe, manifest)
    assert expected["step"] == 12
    for stop_at in (1, 4, 7):
        first = Trainer(recipe, manifest, CPU)
        try:
            first.run(until=stop_at)
            save_checkpoint(tmp_path / "checkpoint.pt", first.state_dict())
        finally:
            first.close()
        torch.manual_seed(999)  # what else the process drew must not matter
        second = Trainer(recipe.replace(workers=2), manifest, CPU)
        try:
            second.load_state_dict(load_checkpoint(tmp_path / "checkpoint.pt"))
            assert second.step == stop_at
            assert second.run()
            resumed = second.state_dict()
        finally:
            second.close()
        assert_same(resumed["ranks"][0]["rng"], expected["ranks"][0]["rng"], f"stop at {stop_at}: rng")
        for part in ("step", "train_step", "smoothed_loss"):
            assert_same(resumed[part], expected[part], f"stop at {stop_at}: {part}")


def test_a_run_in_pieces_is_the_run_in_one(tiny: Recipe, manifest: Manifest) -> None:
    trainer = Trainer(tiny, manifest, CPU)
    try:
        for until in (2, 5, 12):
            assert trainer.run(until=until)
        assert_same(trainer.state_dict()["train_step"], whole_run(tiny, manifest)["train_step"])
    finally:
        trainer.close()


def test_another_seed_is_another_run(tiny: Recipe, manifest: Manifest) -> None:
    short = tiny.replace(max_steps=2)
    weights = [
        whole_run(short.replace(seed=seed), manifest)["train_step"]["network"]["backbone.conv1.weight"]
        for seed in (0, 1)
    ]
    assert not torch.equal(*weights)


def test_progress_and_metrics_say_where_the_run_is(tiny: Recipe, manifest: Manifest) -> None:
    seen: list[Progress] = []
    trainer = Trainer(tiny.replace(log_every_steps=5), manifest, CPU)
    try:
        trainer.run(on_step=seen.append)
    finally:
        trainer.close()
    assert [p.step for p in seen] == list(range(1, 13))
    assert [p.epoch for p in seen] == [0] * 4 + [1] * 4 + [2] * 4
    assert [p.step for p in seen if p.metrics is not None] == [5, 10, 12]  # and the last, whatever the stride
    metrics = [p.metrics for p in seen if p.metrics is not None]
    for line in metrics:
        weighted = 25 * line["invariance"] + 25 * line["variance"] + line["covariance"]
        assert line["loss"] == pytest.approx(weighted, rel=1e-5)
        expected = recipe_learning_rate(tiny, int(line["step"]) - 1, 4)
        assert line["learning_rate"] == pytest.approx(expected, rel=1e-6, abs=0)
        assert line["epoch"] == line["step"] / 4
        assert line["pairs_per_second"] > 0
        assert 0 <= line["loader_wait_share"] <= 1
    assert metrics[0]["seconds"] < metrics[1]["seconds"] <= trainer.seconds
    assert trainer.last_loss == metrics[-1]["loss"]


def test_a_stop_comes_after_a_whole_step_and_its_time_counts(tiny: Recipe, manifest: Manifest) -> None:
    trainer = Trainer(tiny.replace(log_every_steps=100), manifest, CPU)
    try:
        assert not trainer.run(stop=lambda: trainer.step == 2)
        assert trainer.step == 2
        assert trainer.state_dict()["seconds"] > 0
    finally:
        trainer.close()


def with_trouble(recipe: Recipe, at_step: int, kind: str) -> Any:
    """The recipe's loss, which at one step has a NaN value, or a finite value and a NaN gradient."""
    real, calls = recipe_loss(recipe), 0

    def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
        nonlocal calls
        calls += 1
        value, terms = real(x, y)
        if calls == at_step:
            value = value * math.nan if kind == "value" else value + (0 * x).sum().sqrt()
        return value, terms

    return loss


def test_a_loss_that_is_not_finite_stops_at_the_next_log(tiny: Recipe, manifest: Manifest) -> None:
    trainer = Trainer(tiny, manifest, CPU, loss=with_trouble(tiny, 3, "value"))
    try:
        pattern = (
            r"^step 3: the loss is not finite \(invariance \S+, variance \S+, covariance \S+\); lower base_lr"
        )
        with pytest.raises(TrainingError, match=pattern) as caught:
            trainer.run()
        assert "\n" not in str(caught.value)
        assert "(now 0.05)" in str(caught.value)
        with pytest.raises(TrainingError, match="step 3"):
            trainer.state_dict()
    finally:
        trainer.close()


def test_a_finite_loss_with_a_gradient_that_is_not_is_never_saved(tiny: Recipe, manifest: Manifest) -> None:
    trainer = Trainer(tiny, manifest, CPU, loss=with_trouble(tiny, 2, "gradient"))
    try:
        assert trainer.run(until=2)
        with pytest.raises(
            TrainingError, match=r"step 2: \d+ of \d+ tensors of the network are not finite, first"
        ):
            trainer.state_dict()
    finally:
        trainer.close()


def test_a_state_of_another_pipeline_or_set_is_refused_with_the_mend(
    tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    state = whole_run(tiny.replace(max_steps=1), manifest)
    other = load_manifest(make_builtin_set(tmp_path / "other", train=36, test=1, size=(40, 36), seed=5))
    dali = Trainer(tiny.replace(pipeline="dali"), manifest, CPU)
    moved = Trainer(tiny, other, CPU)
    try:
        with pytest.raises(
            CheckpointError, match=r"trained with the torchvision pipeline .* --pipeline torchvision"
        ):
            dali.load_state_dict(state)
        with pytest.raises(CheckpointError) as caught:
            moved.load_state_dict(state)
        assert "\n" not in str(caught.value)
    finally:
        dali.close()
        moved.close()


def test_a_state_of_another_network_is_refused_in_one_line(tiny: Recipe, manifest: Manifest) -> None:
    state = whole_run(tiny.replace(max_steps=1), manifest)
    lacking = copy.deepcopy(state)
    del lacking["train_step"]["network"]
    wider = Trainer(tiny.replace(width=8), manifest, CPU)
    try:
        for wrong in (state, lacking):
            with pytest.raises(
                CheckpointError, match="does not fit the recipe's network or optimiser"
            ) as caught:
                wider.load_state_dict(wrong)
            assert "\n" not in str(caught.value)
    finally:
        wider.close()


def test_the_views_are_closed_when_the_step_cannot_be_made(
    tiny: Recipe, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    made = loop.make_views

    def watched(*arguments: Any, **options: Any) -> Any:
        views = made(*arguments, **options)
        close = views.close
        views.close = lambda: (closed.append(views.name), close())
        return views

    monkeypatch.setattr(loop, "make_views", watched)
    with pytest.raises(UsageError, match=r"capture = 'on': .*CUDA"):
        Trainer(tiny.replace(capture="on"), manifest, CPU)
    assert closed == ["torchvision"]


def test_bf16_trains_in_channels_last(tiny: Recipe, manifest: Manifest) -> None:
    recipe = tiny.replace(precision="bf16", max_steps=2)
    state = whole_run(recipe, manifest)["train_step"]["network"]
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    step = TrainingStep(recipe, CPU, steps_per_epoch=4)
    weight = step.network.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(state["backbone.layer1.0.conv1.weight"], weight)
