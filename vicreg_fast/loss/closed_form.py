"""Value and gradient of the whole loss in one sweep, without autograd: the torch backend.

With zc one view's centred embeddings, v_j = Σ_i zc_ij²/(N−1), σ_j = √(v_j+ε), and the weights λ, μ, ν:

    ∂inv/∂Z = ± 2/divisor · (z − z')                       divisor = n·D, or n in the paper's reduction
    ∂var/∂Z = − factor/(D(N−1)) · zc ⊙ ( 1[σ<γ]/σ )        factor = ½ in the official code
    ∂cov/∂Z                                                in gram.py and primal.py

At σ = 0, which needs ε = 0 and a constant column, the gradient of the norm σ is taken as 0, as
torch.linalg.vector_norm does; autograd through the square root gives NaN there, which would end a run for
one dead column.

The gradient is computed with the value, while zc and the product are at hand: the backward is then one
multiplication, and what is kept for it is the gradient of the local rows, however many ranks the batch
came from. Half-precision inputs are widened before anything is subtracted, multiplied or squared.

Several ranks: each differentiates its own n rows of the loss of the global batch, and multiplies by the world
size W, because data-parallel training averages gradients. The invariance is of the local rows, and its
average is the global one's. So no collective belongs to the backward; the values are summed by a small one
that runs while the gradient is computed.

Legend: V = views (2), n = rows differentiated here, N = rows of the batch, W = N/n, D = embedding dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vicreg_fast.distributed import Ranks, sum_over_ranks
from vicreg_fast.loss.centring import centred_batch, centred_rows, ranked_views
from vicreg_fast.loss.gram import add_gram_gradient_, gram_covariance
from vicreg_fast.loss.numerics import squared_norms
from vicreg_fast.loss.plan import LossPlan
from vicreg_fast.loss.presets import Objective
from vicreg_fast.loss.primal import add_primal_gradient_, primal_covariance


class LossValue(NamedTuple):
    """Of the global batch, alike on every rank; in the accumulation dtype. The terms are unweighted, 0-d."""

    loss: Tensor
    invariance: Tensor
    variance: Tensor
    covariances: Tensor
    """(V,): of either view; the term is their sum."""
    variances: Tensor
    """(V, D): v of every dimension of both views."""


def value_and_gradient(
    x_nD: Tensor, y_nD: Tensor, *, objective: Objective, plan: LossPlan, ranks: Ranks, views: slice | None
) -> tuple[LossValue, Tensor | None]:
    """The loss and its gradient for the views in `views` (a slice of (x, y); None for no gradient),
    (views, n, D), in the accumulation dtype.
    """
    n, D = x_nD.shape
    W = ranks.world_size
    N = W * n
    divisor = objective.preset.invariance_divisor(n, D)
    if plan.exchange == "reduce":
        centred_VND, variance_VD, work_VnD = centred_rows(x_nD, y_nD, ranks)
        rows = slice(None)
    else:
        centred_VND, variance_VD, work_VnD = centred_batch(*ranked_views(x_nD, y_nD, ranks, plan.exchange))
        rows = ranks.rows(n)
        if W > 1:
            work_VnD = torch.empty_like(work_VnD[:, rows])
    dtype = centred_VND.dtype
    std_VD = variance_VD.add(objective.epsilon).sqrt_()
    hinge_VD = (objective.gamma - std_VD).clamp_min_(0)
    variance = hinge_VD.sum() * (objective.preset.variance_factor / D)

    # The squares are spent: their memory takes the difference of the views, and then the gradient.
    difference_nD = torch.sub(x_nD, y_nD.to(dtype), out=work_VnD[1])
    invariance = (squared_norms(difference_nD) / divisor).to(dtype)

    if plan.form == "gram":
        covariances, product = gram_covariance(centred_VND, variance_VD, rows)
    else:
        summed = ranks if plan.exchange == "reduce" else None
        covariances, product = primal_covariance(centred_VND, N, n, summed)
    pending = None
    if W > 1:
        shares = torch.cat([invariance.unsqueeze(0) / W, covariances])
        pending = sum_over_ranks(shares, ranks, wait=False)

    gradient = None
    if views is not None:
        scale = objective.invariance_weight * 2 / divisor
        gradient = _invariance_gradient(work_VnD, views, scale)
        slope = -objective.variance_weight * objective.preset.variance_factor * W / (D * (N - 1))
        pulled_VD = (hinge_VD > 0) & (std_VD > 0)
        column_VD = torch.where(pulled_VD, slope / std_VD, 0)[views]
        centred, product = centred_VND[views], product[views]
        weight = objective.covariance_weight * W
        if plan.form == "gram":
            add_gram_gradient_(gradient, product, centred, variance_VD[views], column_VD, rows, weight)
        else:
            add_primal_gradient_(gradient, product, centred[:, rows], column_VD, N, weight)

    if pending is not None:
        pending.wait()
        invariance, covariances = shares[0], shares[1:]
    loss = (
        objective.invariance_weight * invariance
        + objective.variance_weight * variance
        + objective.covariance_weight * covariances.sum()
    )
    return LossValue(loss, invariance, variance, covariances, variance_VD), gradient


def _invariance_gradient(work_VnD: Tensor, views: slice, scale: float) -> Tensor:
    """± scale · difference for the views in `views`; the difference is in `work_VnD[1]`, and is spent."""
    if views == slice(0, 2):
        torch.mul(work_VnD[1], scale, out=work_VnD[0])
        work_VnD[1].mul_(-scale)
        return work_VnD
    # A view of one half would keep the memory of both.
    return work_VnD[1:].mul(scale if views == slice(0, 1) else -scale)
