"""The learning rate against the authors' adjust_learning_rate, written out, and the device's against it."""

import math

import pytest
import torch

from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.training.capture_guard import forbid_host_sync, imagined_cuda
from vicreg_fast.training.schedule import Schedule, learning_rate, planned_steps, recipe_learning_rate


def official(step: int, *, epochs: int, loader: int, base_lr: float, batch_size: int) -> float:
    base = base_lr * batch_size / 256
    warmup, total = 10 * loader, epochs * loader
    if step < warmup:
        return base * step / warmup
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    return base * q + base * 0.001 * (1 - q)


@pytest.mark.parametrize("name", ["imagenet-r50-100ep", "imagenet-r50-1000ep"])
def test_every_step_of_the_imagenet_recipes_is_the_authors(name: str) -> None:
    recipe, loader = load_recipe(name), 13
    for step in range(planned_steps(recipe, loader)):
        expected = official(
            step, epochs=recipe.epochs, loader=loader, base_lr=recipe.base_lr, batch_size=recipe.batch_size
        )
        assert recipe_learning_rate(recipe, step, loader) == pytest.approx(expected, rel=1e-12, abs=0)


def test_landmarks() -> None:
    def at(step: int) -> float:
        return learning_rate(step, peak=2.0, warmup_steps=10, total_steps=110, final_factor=0.01)

    assert [at(0), at(5), at(10)] == [0.0, 1.0, 2.0]
    assert at(60) == pytest.approx(1.01)  # halfway down the cosine
    assert at(110) == at(10_000) == pytest.approx(0.02)
    last = 0.5 * (1 + math.cos(math.pi * 99 / 100))
    assert at(109) == pytest.approx(2 * (last + 0.01 * (1 - last)), rel=1e-12)
    assert all(at(step) > at(step + 1) for step in range(10, 110))


def test_steps_are_the_epochs_or_the_cap() -> None:
    assert planned_steps(Recipe(epochs=3), 7) == 21
    assert planned_steps(Recipe(epochs=3, max_steps=5), 7) == 5
    assert planned_steps(Recipe(epochs=3, max_steps=500), 7) == 500


def test_a_capped_run_warms_up_for_a_tenth_at_most() -> None:
    capped = Recipe(max_steps=100, warmup_epochs=10)
    assert recipe_learning_rate(capped, 5, 50) == pytest.approx(capped.peak_lr / 2)
    assert recipe_learning_rate(capped, 10, 50) == capped.peak_lr
    assert recipe_learning_rate(capped, 99, 50) < 0.002 * capped.peak_lr
    short = Recipe(max_steps=100, warmup_epochs=0.1)  # 5 steps of 50: shorter than the tenth, so kept
    assert recipe_learning_rate(short, 5, 50) == short.peak_lr
    assert recipe_learning_rate(short, 4, 50) == pytest.approx(0.8 * short.peak_lr)


def test_a_run_shorter_than_its_warm_up_and_one_without_any() -> None:
    short = Recipe(epochs=2, warmup_epochs=10)
    assert recipe_learning_rate(short, 10, 10) == pytest.approx(short.peak_lr / 2)
    none = Recipe(epochs=2, warmup_epochs=0)
    assert recipe_learning_rate(none, 0, 10) == none.peak_lr
    assert recipe_learning_rate(Recipe(max_steps=1), 0, 10) == Recipe().peak_lr


DEVICE_SCHEDULES = {
    "warm-up and cosine": (Recipe(epochs=12, warmup_epochs=2), 25),
    "no warm-up": (Recipe(epochs=6, warmup_epochs=0, final_lr_factor=0.0), 30),
    "capped": (Recipe(max_steps=230, warmup_epochs=10, base_lr=1.6), 500),
    "capped, shorter warm-up": (Recipe(max_steps=200, warmup_epochs=0.1), 50),
    "all warm-up": (Recipe(epochs=2, warmup_epochs=10, batch_size=2048), 60),
    "one step": (Recipe(max_steps=1), 10),
    "smoke": (load_recipe("smoke"), 15),
}


@pytest.mark.parametrize("name", DEVICE_SCHEDULES)
def test_the_schedule_on_the_device_is_pythons_at_every_step(name: str) -> None:
    recipe, steps_per_epoch = DEVICE_SCHEDULES[name]
    schedule = Schedule(recipe, steps_per_epoch, torch.device("cpu"))
    assert float(schedule.learning_rate) == 0.0
    held = schedule.learning_rate
    for step in range(planned_steps(recipe, steps_per_epoch) + 3):  # and beyond its end
        assert int(schedule.step_count) == step
        with forbid_host_sync():
            schedule.advance()
        expected = recipe_learning_rate(recipe, step, steps_per_epoch)
        assert float(schedule.learning_rate) == pytest.approx(expected, rel=1e-6, abs=0)
    assert schedule.learning_rate is held


def test_the_schedule_copies_nothing_between_devices() -> None:
    with imagined_cuda():
        schedule = Schedule(Recipe(), 10, torch.device("cuda", 0))
        with forbid_host_sync():
            schedule.advance()
        assert schedule.learning_rate.device == schedule.step_count.device == torch.device("cuda", 0)
        assert (schedule.learning_rate.dtype, schedule.step_count.dtype) == (torch.float32, torch.int64)


def test_a_schedule_goes_on_where_its_state_was() -> None:
    recipe = Recipe(epochs=4, warmup_epochs=1)
    first, second = (Schedule(recipe, 5, torch.device("cpu")) for _ in range(2))
    for _ in range(7):
        first.advance()
    rate = second.learning_rate
    second.load_state_dict(first.state_dict())
    assert torch.equal(rate, first.learning_rate)
    for _ in range(5):
        first.advance()
        second.advance()
        assert torch.equal(rate, first.learning_rate)


def test_a_held_rate_stays_and_steps_are_counted() -> None:
    schedule = Schedule(Recipe(), 10, torch.device("cpu"))
    schedule.hold(0.125)
    for _ in range(3):
        schedule.advance()
        assert float(schedule.learning_rate) == 0.125
    assert int(schedule.step_count) == 3
