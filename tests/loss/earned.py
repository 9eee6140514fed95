"""The tolerance that is earned: at most twice the error of the plain formula in the same precision, plus
1e-6, value and gradient, against the float64 oracle.
"""

import math

import torch
from torch import Tensor

from bench.rivals import official_loss
from vicreg_fast.loss.reference import vicreg_reference


def errors_of(
    loss: Tensor, upstream: float, x: Tensor, y: Tensor, oracle: Tensor, wanted: tuple[Tensor, ...]
) -> tuple[float, float]:
    """Of the value, relative to the oracle's, and of both gradients together, relative in norm."""
    scale = torch.tensor(upstream, dtype=loss.dtype, device=loss.device)
    gradients = torch.autograd.grad(loss, (x, y), scale)
    value = float((loss.detach().double() - oracle).abs() / oracle.abs())
    gradient = sum(float((g.double() - w).norm() ** 2) for g, w in zip(gradients, wanted, strict=True)) ** 0.5
    return value, gradient / float(torch.cat(wanted).norm())


def assert_earned(ours: Tensor, upstream: float, x: Tensor, y: Tensor) -> None:
    """That `ours`, the loss of `x` and `y`, is as near to the oracle as it has to be."""
    x64, y64 = (z.detach().double().requires_grad_() for z in (x, y))
    oracle = vicreg_reference(x64, y64)
    assert isinstance(oracle, Tensor)
    scale = torch.tensor(upstream, dtype=torch.float64, device=x.device)
    wanted = torch.autograd.grad(oracle, (x64, y64), scale)
    found = errors_of(ours, upstream, x, y, oracle.detach(), wanted)
    plain = errors_of(official_loss(x, y), upstream, x, y, oracle.detach(), wanted)
    for error, allowed in zip(found, plain, strict=True):
        # Where the plain formula overflows, ours has the inputs' own precision to keep.
        bound = 2 * allowed + 1e-6 if math.isfinite(allowed) else torch.finfo(x.dtype).eps
        assert error <= bound, f"error {error:.3g} is over {bound:.3g}; the plain formula's is {allowed:.3g}"


__all__ = ["assert_earned", "errors_of"]
