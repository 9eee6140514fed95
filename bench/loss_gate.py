"""No loss is timed before its value and gradient are those of the float64 oracle of its preset.

The tolerance is earned: at most twice the error of the plain official formula, in the same dtype on the same
views, plus 1e-6. A value may always be off by one rounding of the dtype it is returned in: in half precision
the plain formula's is at times closer by chance. The plain formula itself is held to a number of roundings of
its dtype.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.loss_providers import OFFICIAL, LossProvider
from bench.loss_record import LossGate
from bench.rival_losses import LossFunction
from bench.rivals import official_loss
from vicreg_fast.loss.reference import vicreg_reference

PLAIN_ROUNDINGS = 64
"""The plain formula's error is at most so many times the dtype's ε."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """A loss and its gradients with respect to both views, in float64."""

    value: float
    gradients: tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class _Error:
    value: float
    gradient: float


class Gate:
    """Checks losses on one pair of views, (N, D) leaves that require a gradient."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._views = (x, y)
        self._oracles: dict[str, _Answer] = {}
        self._plain: _Error | None = None

    def check(self, provider: LossProvider, loss: LossFunction) -> LossGate:
        """Calls `loss` once, forward and backward. Raises what it raises."""
        x, y = self._views
        began = time.perf_counter()
        value = loss(x, y)
        gradients = torch.autograd.grad(value, (x, y))
        answer = _Answer(value=float(value.detach()), gradients=(gradients[0], gradients[1]))
        seconds = time.perf_counter() - began
        error = self._error(answer, provider.preset)
        if provider.name == OFFICIAL:
            self._plain = error
            limit = PLAIN_ROUNDINGS * torch.finfo(x.dtype).eps
            allowed = _Error(value=limit, gradient=limit)
        else:
            allowed = self._allowed(value.dtype)
        return LossGate(
            provider=provider.name,
            preset=provider.preset,
            dtype=str(x.dtype).removeprefix("torch."),
            device=x.device.type,
            n=x.shape[0],
            d=x.shape[1],
            value_error=_finite(error.value),
            value_allowed=allowed.value,
            gradient_error=_finite(error.gradient),
            gradient_allowed=allowed.gradient,
            passed=error.value <= allowed.value and error.gradient <= allowed.gradient,
            value_over_official=_finite(self._oracle(provider.preset).value / self._oracle(OFFICIAL).value),
            first_call_seconds=seconds,
        )

    def _allowed(self, returned: torch.dtype) -> _Error:
        if self._plain is None:
            value = official_loss(*self._views)
            gradients = torch.autograd.grad(value, self._views)
            answer = _Answer(value=float(value.detach()), gradients=(gradients[0], gradients[1]))
            self._plain = self._error(answer, OFFICIAL)
        # Where the plain formula overflows, a loss has the views' own precision to keep.
        own = torch.finfo(self._views[0].dtype).eps
        limits = [
            2 * error + 1e-6 if math.isfinite(error) else own
            for error in (self._plain.value, self._plain.gradient)
        ]
        return _Error(value=max(limits[0], torch.finfo(returned).eps), gradient=limits[1])

    def _error(self, answer: _Answer, preset: str) -> _Error:
        oracle = self._oracle(preset)
        pairs = list(zip(answer.gradients, oracle.gradients, strict=True))
        difference = math.hypot(*(float((ours.double() - true).norm()) for ours, true in pairs))
        norm = math.hypot(*(float(true.norm()) for _, true in pairs))
        return _Error(value=abs(answer.value - oracle.value) / abs(oracle.value), gradient=difference / norm)

    def _oracle(self, preset: str) -> _Answer:
        if preset not in self._oracles:
            x, y = (z.detach().double().requires_grad_() for z in self._views)
            loss = vicreg_reference(x, y, preset=preset)
            assert isinstance(loss, Tensor)
            gradients = torch.autograd.grad(loss, (x, y))
            self._oracles[preset] = _Answer(
                value=float(loss.detach()), gradients=(gradients[0], gradients[1])
            )
        return self._oracles[preset]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
