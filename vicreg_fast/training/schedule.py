"""Linear warm-up, then a cosine to a small share of the peak (official
`main_vicreg.py:adjust_learning_rate`).

Twice: `recipe_learning_rate` in Python, which is the definition, and `Schedule` on the device, which a
captured step carries with it.
"""

import math

import torch
from torch import Tensor

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


def planned_warmup(recipe: Recipe, steps_per_epoch: int) -> int:
    """Steps of the warm-up; one longer than a tenth of a capped run is cut to that tenth."""
    total = planned_steps(recipe, steps_per_epoch)
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if recipe.max_steps:
        warmup = min(warmup, total // 10)
    return min(warmup, total)


def recipe_learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of `step` in the recipe's run."""
    return learning_rate(
        step,
        peak=recipe.peak_lr,
        warmup_steps=planned_warmup(recipe, steps_per_epoch),
        total_steps=planned_steps(recipe, steps_per_epoch),
        final_factor=recipe.final_lr_factor,
    )


class Schedule:
    """The recipe's learning rate as a tensor that counts its own steps: no number of it is Python's.

    `advance` has neither a branch nor a read on the host, so that a CUDA graph can hold it.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, device: torch.device) -> None:
        self.step_count = torch.zeros((), dtype=torch.int64, device=device)
        """0-d int64: steps done."""
        self.learning_rate = torch.zeros((), dtype=torch.float32, device=device)
        """0-d float32, which is what torch's fused kernels take: the rate of the last step."""
        self._held = torch.full((), math.nan, dtype=torch.float64, device=device)
        self._peak = recipe.peak_lr
        self._warmup = planned_warmup(recipe, steps_per_epoch)
        self._decay = max(1, planned_steps(recipe, steps_per_epoch) - self._warmup)
        self._final = recipe.final_lr_factor

    @torch.no_grad()
    def advance(self) -> None:
        """Sets the rate of the next step and counts it."""
        step = self.step_count.double()
        rising = self._peak * step / max(1, self._warmup)
        done = ((step - self._warmup) / self._decay).clamp(max=1.0)
        cosine = 0.5 * (1 + torch.cos(math.pi * done))
        falling = self._peak * (cosine + self._final * (1 - cosine))
        planned = torch.where(step < self._warmup, rising, falling)
        self.learning_rate.copy_(torch.where(self._held.isnan(), planned, self._held))
        self.step_count.add_(1)

    def hold(self, rate: float) -> None:
        """Every later step has this rate; a step that is captured already, too."""
        self._held.fill_(rate)

    def state_dict(self) -> dict[str, Tensor]:
        return {"step_count": self.step_count, "learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """In place: who holds the tensors keeps them."""
        self.step_count.copy_(state["step_count"])
        self.learning_rate.copy_(state["learning_rate"])
