"""One training step: normalise, two forwards, loss, backward, optimiser.

What a bench scenario changes is passed in: the loss, the optimiser, the precision, the memory format. The
recipe's own are the defaults, so that `pretrain` and the bench run the same code.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn, optim

from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegLoss, VICRegTerms
from vicreg_fast.model import Normalize, TwoViewNetwork, build_network
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate

LossFunction = Callable[[Tensor, Tensor], tuple[Tensor, VICRegTerms]]
"""(N, D) embeddings twice → the scalar to minimise and its terms, detached."""

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def recipe_loss(recipe: Recipe) -> LossFunction:
    """The recipe's VICReg loss, with its terms."""
    module = VICRegLoss(
        preset=recipe.preset,
        invariance_weight=recipe.invariance_weight,
        variance_weight=recipe.variance_weight,
        covariance_weight=recipe.covariance_weight,
        gamma=recipe.gamma,
        form=recipe.loss_form,
        backend=recipe.loss_backend,
    )
    return lambda x, y: module(x, y, return_terms=True)


class TrainingStep:
    """Network, loss and optimiser on one device. Calling it with a batch trains one step and returns the loss
    and its terms.

    Nothing is read back to the host: the returned tensors stay on the device. Raises UsageError when the
    recipe asks for what the device cannot do.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        loss: LossFunction | None = None,
        make_optimizer: Callable[[Recipe, nn.Module], optim.Optimizer] = build_optimizer,
    ) -> None:
        if recipe.precision == "fp16" and device.type != "cuda":
            raise UsageError(
                f"precision = 'fp16' needs CUDA; on {device.type} use precision=bf16 or precision=fp32"
            )
        self.recipe = recipe
        self.device = device
        torch.manual_seed(recipe.seed)
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.memory_format = memory_format
        self.network: TwoViewNetwork = build_network(recipe).to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
        self.network.train()
        self.normalize = Normalize().to(device)
        self.loss = loss or recipe_loss(recipe)
        self.optimizer = make_optimizer(recipe, self.network)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = self.network
        if recipe.compile:
            self._forward = torch.compile(self.network)

    def __call__(self, batch: ViewBatch, learning_rate: float) -> tuple[Tensor, VICRegTerms]:
        """`batch` is uint8 on any device. Returns detached 0-d tensors."""
        set_learning_rate(self.optimizer, learning_rate)
        view_1, view_2 = (self._prepared(view) for view in (batch.view_1, batch.view_2))
        with self._autocast():
            z_1, z_2 = self._forward(view_1, view_2)
            # Inside autocast, so that a loss of plain operations gets what the official code's gets; ours
            # switches it off.
            loss, terms = self.loss(z_1, z_2)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach(), terms

    def _prepared(self, view: Tensor) -> Tensor:
        images: Tensor = self.normalize(view.to(self.device, non_blocking=True))
        return images.contiguous(memory_format=self.memory_format)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = AUTOCAST_DTYPES.get(self.recipe.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser and scaler: tensors, numbers and strings only."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
