"""Linear warm-up, then a cosine to a small share of the peak (official
`main_vicreg.py:adjust_learning_rate`)."""

import math

from vicreg_fast.config import Recipe


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, final_factor: float = 0.001
) -> float:
    """Learning rate of `step`, counted from 0. As in the official code the first step of a warm-up has rate
    0."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return peak * (cosine + final_factor * (1 - cosine))


def planned_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Steps of the whole run."""
    return recipe.max_steps or recipe.epochs * steps_per_epoch


def recipe_learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of `step` in the recipe's run; a warm-up longer than a tenth of a capped run is cut to
    that tenth."""
    total = planned_steps(recipe, steps_per_epoch)
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if recipe.max_steps:
        warmup = min(warmup, total // 10)
    return learning_rate(
        step,
        peak=recipe.peak_lr,
        warmup_steps=min(warmup, total),
        total_steps=total,
        final_factor=recipe.final_lr_factor,
    )
