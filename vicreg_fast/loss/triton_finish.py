"""Triton: from partial sums to the terms and the loss, in one program.

Partials are float32 sums over a tile or a strip; here they are added up in float64, in a fixed order, and the
Gram form's subtraction happens in float64 too.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vicreg_fast.loss.presets import Objective
from vicreg_fast.loss.triton_centre import Centred
from vicreg_fast.loss.triton_configs import FUSED

BLOCK = 256


@triton.jit
def _total(ptr, count, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        total += tl.load(ptr + at, mask=at < count, other=0.0).to(tl.float64)
    return tl.sum(total)


@triton.jit(do_not_specialize=["strips", "tiles", "D", "invariance_divisor"])
def finish_kernel(
    partial_ptr,  # (PARTIALS, strips) of centre_kernel
    energy_ptr,  # (2, tiles) of product_kernel
    value_ptr,  # (5,) float32: loss, invariance, variance, covariance of either view
    strips,
    tiles,
    D,
    invariance_divisor,
    variance_factor,  # over D
    diagonal_share,  # how much of the squared variances this rank subtracts; 0 in the covariance form
    energy_share,  # how much of the product's squares this rank counts
    invariance_weight,
    variance_weight,
    covariance_weight,
    BLOCK: tl.constexpr,
):
    invariance = _total(partial_ptr, strips, BLOCK) / invariance_divisor
    hinges = _total(partial_ptr + strips, strips, BLOCK) + _total(partial_ptr + 2 * strips, strips, BLOCK)
    variance = hinges * variance_factor
    diagonal_x = _total(partial_ptr + 3 * strips, strips, BLOCK) * diagonal_share
    diagonal_y = _total(partial_ptr + 4 * strips, strips, BLOCK) * diagonal_share
    covariance_x = (_total(energy_ptr, tiles, BLOCK) * energy_share - diagonal_x) / D
    covariance_y = (_total(energy_ptr + tiles, tiles, BLOCK) * energy_share - diagonal_y) / D
    covariance = covariance_x + covariance_y
    loss = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
    tl.store(value_ptr, loss.to(tl.float32))
    tl.store(value_ptr + 1, invariance.to(tl.float32))
    tl.store(value_ptr + 2, variance.to(tl.float32))
    tl.store(value_ptr + 3, covariance_x.to(tl.float32))
    tl.store(value_ptr + 4, covariance_y.to(tl.float32))


def finish(
    centred: Centred,
    energies: Tensor,
    *,
    objective: Objective,
    invariance_divisor: int,
    diagonal_share: float,
    energy_share: float,
) -> Tensor:
    """(5,) float32: the loss, the invariance, the variance, and the covariance of either view; the
    covariances are this rank's shares.
    """
    D = centred.column_VD.shape[1]
    value = torch.empty(5, dtype=torch.float32, device=energies.device)
    finish_kernel[(1,)](
        centred.partials,
        energies,
        value,
        centred.partials.shape[1],
        energies.shape[1],
        D,
        invariance_divisor,
        objective.preset.variance_factor / D,
        diagonal_share,
        energy_share,
        objective.invariance_weight,
        objective.variance_weight,
        objective.covariance_weight,
        BLOCK=BLOCK,
        **FUSED,
    )
    return value


__all__ = ["finish", "finish_kernel"]
