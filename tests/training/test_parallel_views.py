"""Two views at once are as two views in turn: weights to the bit, running statistics to a rounding."""

from collections.abc import Iterator

import pytest
import torch

from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.training.parallel_views import parallel_obstacle
from vicreg_fast.training.step import TrainingStep

CPU = torch.device("cpu")
SMALL = ["width=4", "expander=16-24", "batch_size=8", "precision=fp32", "capture=off", "warmup_epochs=0"]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batch(seed: int, rows: int = 8) -> ViewBatch:
    generator = torch.Generator().manual_seed(seed)
    views = torch.randint(0, 256, (2, rows, 32, 32, 3), dtype=torch.uint8, generator=generator)
    view_1, view_2 = views.permute(0, 1, 4, 2, 3)
    return ViewBatch(view_1, view_2, torch.zeros(rows, dtype=torch.int64))


def trained(recipe: Recipe, steps: int = 3) -> tuple[dict[str, torch.Tensor], list[float]]:
    step = TrainingStep(recipe, CPU, steps_per_epoch=4)
    losses = []
    for number in range(steps):
        parts = range(recipe.accumulate)
        batches = [batch(10 * number + part, recipe.batch_size // recipe.accumulate) for part in parts]
        losses.append(float(step(batches)[0]))
    step.close()
    return step.network.state_dict(), losses


@pytest.mark.parametrize("settings", [[], ["accumulate=2"]], ids=["whole batches", "micro-batches"])
def test_the_weights_are_those_of_one_view_after_the_other(two_threads: None, settings: list[str]) -> None:
    recipe = load_recipe("smoke", [*SMALL, *settings])
    at_once, losses = trained(recipe)
    torch.set_num_threads(1)  # as each view had
    in_turn, expected = trained(recipe.replace(parallel_views="off"))
    assert losses == expected
    assert at_once.keys() == in_turn.keys()
    for name, value in at_once.items():
        if "running" in name:
            torch.testing.assert_close(value, in_turn[name], rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(value, in_turn[name]), name
    assert int(at_once["backbone.bn1.num_batches_tracked"]) == 3 * 2 * recipe.accumulate


def test_bf16_adds_the_views_gradients_in_float32(two_threads: None) -> None:
    """In turn they meet at the weights' cast, and are added in bf16: at once is the nearer to float32."""
    recipe = load_recipe("smoke", [*SMALL, "precision=bf16", "optimizer=sgd", "base_lr=1"])
    exact, _ = trained(recipe.replace(precision="fp32"), steps=1)
    at_once, losses = trained(recipe, steps=1)
    torch.set_num_threads(1)
    in_turn, expected = trained(recipe.replace(parallel_views="off"), steps=1)
    assert losses == pytest.approx(expected, rel=1e-6)
    weights = [name for name in exact if name.endswith("weight") and exact[name].ndim > 1]
    error, usual = (
        sum(float((found[name] - exact[name]).square().sum()) for name in weights)
        for found in (at_once, in_turn)
    )
    assert 0 < error <= 1.05 * usual


def test_the_threads_are_put_back_and_the_other_thread_ends(two_threads: None) -> None:
    import threading

    step = TrainingStep(load_recipe("smoke", SMALL), CPU, steps_per_epoch=4)
    step([batch(0)])
    assert torch.get_num_threads() == 2
    assert any(thread.name.startswith("view-2") for thread in threading.enumerate())
    step.close()
    assert not any(thread.name.startswith("view-2") for thread in threading.enumerate())


def test_what_a_view_raises_is_raised_once_both_are_done(two_threads: None) -> None:
    step = TrainingStep(load_recipe("smoke", SMALL), CPU, steps_per_epoch=4)
    good = batch(0)
    broken = ViewBatch(good.view_1, good.view_2[:, :2], good.label)
    with pytest.raises(RuntimeError, match="size of tensor"):
        step([broken])
    assert torch.get_num_threads() == 2
    assert torch.isfinite(step([good])[0]), "and the step goes on to work"
    step.close()


@pytest.mark.parametrize(
    "settings",
    [["parallel_views=off"], ["forward=joint"], ["compile=true"]],
    ids=["off", "joint", "compiled"],
)
def test_views_go_in_turn_where_they_have_to(two_threads: None, settings: list[str]) -> None:
    step = TrainingStep(load_recipe("smoke", [*SMALL, *settings]), CPU, steps_per_epoch=4)
    assert step._views is None
    step.close()


def test_the_obstacles_are_named(two_threads: None) -> None:
    assert parallel_obstacle(CPU) is None
    assert "CPUs" in str(parallel_obstacle(torch.device("cuda")))
    torch.set_num_threads(1)
    assert parallel_obstacle(CPU) == "needs two threads or more"
