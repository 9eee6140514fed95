"""The learning rate against the authors' adjust_learning_rate, written out."""

import math

import pytest

from vicreg_fast.config import Recipe, load_recipe
from vicreg_fast.training.schedule import learning_rate, planned_steps, recipe_learning_rate


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
