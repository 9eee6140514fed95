"""The recipe's optimiser over a network's parameters."""

from typing import Any

import torch
from torch import Tensor, nn, optim

from vicreg_fast.config import Recipe
from vicreg_fast.training.apex import build_apex_optimizer
from vicreg_fast.training.lars import LARS


def build_optimizer(recipe: Recipe, network: nn.Module) -> optim.Optimizer:
    """Its learning rate is the schedule's to set. Biases and norms get no weight decay, whichever optimiser
    it is. Raises UsageError for one of apex's where it cannot be had."""
    params = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "lars":
        return LARS(
            params,
            lr=0.0,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            trust_coefficient=recipe.trust_coefficient,
        )
    groups = decay_groups(recipe, params)
    if recipe.optimizer == "adamw":
        adamw = optim.AdamW(groups, lr=0.0, fused=True, capturable=params[0].device.type == "cuda")
        # Its fused kernel is the same either way, and the warm-up of a capture is no mistake.
        adamw._warned_capturable_if_run_uncaptured = True
        return adamw
    if recipe.optimizer in ("apex-fusedsgd", "apex-fusedlamb"):
        return build_apex_optimizer(recipe, groups)
    sgd = optim.SGD(groups, lr=0.0, momentum=recipe.momentum, fused=True)
    if recipe.momentum:
        # torch makes them at the first step without filling them, and leaves them so when the loss scaler
        # skips that step. From zero the first step is the same.
        for p in params:
            sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return sgd


def decay_groups(recipe: Recipe, params: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Weights with the recipe's weight decay; biases and norms, of one dimension, without."""
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


def takes_tensor_rate(optimizer: optim.Optimizer) -> bool:
    """Whether it reads its learning rate on the device: LARS, and torch's fused kernels."""
    return isinstance(optimizer, LARS) or bool(optimizer.defaults.get("fused"))


def set_learning_rate(optimizer: optim.Optimizer, rate: float | Tensor) -> None:
    """With a tensor, which later holds other rates, once is enough."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def load_optimizer_state(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads what the optimiser learnt; its options stay those it was made with.

    torch would replace the learning rate's tensor by a copy, and `capturable` by that of the device it was
    saved from.
    """
    options = [{name: group[name] for name in optimizer.defaults} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
