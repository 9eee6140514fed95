"""LARS with torch's foreach kernels, exact to the authors' (facebookresearch/vicreg, main_vicreg.py:LARS).

For each weight p with gradient g (tensors of more than one dimension):

    d = g + wd·p;   q = η·‖p‖/‖d‖ (1 where either norm is 0);   μ = m·μ + q·d;   p = p − lr·μ

Biases and norms' parameters (one dimension) get neither weight decay nor the ratio q. No library has exactly
this one: most put the decay outside the norm, or the learning rate inside the momentum. Nothing here reads a
value back to the host.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """Parameters of one dimension are excluded from adaptation and decay. `lr` may be a 0-d tensor on the
    parameters' device."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            weights = [p for p in params if p.ndim > 1]
            others = [p for p in params if p.ndim <= 1]
            if weights:
                self._apply(weights, _adapted_updates(weights, group), group)
            if others:
                self._apply(others, [_gradient(p) for p in others], group)
        return loss

    def _apply(self, params: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum_of(p) for p in params]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, updates)
        if isinstance(group["lr"], Tensor):
            updates.clear()  # as large as all weights; what follows can have the memory
            torch._foreach_sub_(params, torch._foreach_mul(momenta, group["lr"]))
        else:
            torch._foreach_add_(params, momenta, alpha=-group["lr"])

    def _momentum_of(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "mu" not in state:
            state["mu"] = torch.zeros_like(p)
        mu: Tensor = state["mu"]
        return mu


def _adapted_updates(weights: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    updates = list(torch._foreach_add([_gradient(p) for p in weights], weights, alpha=group["weight_decay"]))
    weight_norms = torch.stack(list(torch._foreach_norm(weights)))
    update_norms = torch.stack(list(torch._foreach_norm(updates)))
    ratio = group["trust_coefficient"] * weight_norms / update_norms
    ratio = torch.where((weight_norms > 0) & (update_norms > 0), ratio, torch.ones_like(ratio))
    torch._foreach_mul_(updates, list(ratio.unbind()))
    return updates


def _gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad
