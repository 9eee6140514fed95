"""Optimisers as the baseline runs them: one parameter at a time, in Python."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim

from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.training.optimizers import decay_groups


class PerParameterLARS(optim.Optimizer):
    """LARS as official `main_vicreg.py:LARS` runs it: the formula of `vicreg_fast.training.lars`, a tensor at
    a time."""

    def __init__(
        self, params: Iterable[Tensor], *, momentum: float, weight_decay: float, trust_coefficient: float
    ) -> None:
        defaults = {"momentum": momentum, "weight_decay": weight_decay, "trust": trust_coefficient, "lr": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad
                if p.ndim != 1:
                    update = update.add(p, alpha=group["weight_decay"])
                    weight_norm, update_norm = torch.norm(p), torch.norm(update)
                    ratio = group["trust"] * weight_norm / update_norm
                    usable = (weight_norm > 0) & (update_norm > 0)
                    update = update.mul(torch.where(usable, ratio, torch.ones_like(ratio)))
                state = self.state[p]
                if not state:
                    state["mu"] = torch.zeros_like(p)
                state["mu"].mul_(group["momentum"]).add_(update)
                p.add_(state["mu"], alpha=-group["lr"])
        return loss


def per_parameter_optimizer(recipe: Recipe, network: nn.Module) -> optim.Optimizer:
    """The recipe's optimiser without foreach or fused kernels; what it computes is the same. Raises
    UsageError for one of apex's, which are kernels."""
    require_per_parameter(recipe)
    params = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "lars":
        return PerParameterLARS(
            params,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            trust_coefficient=recipe.trust_coefficient,
        )
    groups = decay_groups(recipe, params)
    if recipe.optimizer == "adamw":
        return optim.AdamW(groups, lr=0.0, foreach=False, fused=False)
    return optim.SGD(groups, lr=0.0, momentum=recipe.momentum, foreach=False, fused=False)


def require_per_parameter(recipe: Recipe) -> None:
    """Raises UsageError when the recipe's optimiser has no form without kernels of its own."""
    if recipe.optimizer in ("apex-fusedsgd", "apex-fusedlamb"):
        raise UsageError(
            f"optimizer = {recipe.optimizer!r} has no form without fused kernels to compare with; "
            "bench takes optimizer=lars, adamw or sgd"
        )
