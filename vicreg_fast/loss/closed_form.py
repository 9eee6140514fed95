"""Value and gradient of the whole loss in one sweep, without autograd.

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

Legend: V = views (2), n = rows differentiated here, N = rows of the batch, D = embedding dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vicreg_fast.loss.gram import add_gram_gradient_, gram_covariance
from vicreg_fast.loss.numerics import accumulation_dtype, squared_norm
from vicreg_fast.loss.plan import VIEWS, Form
from vicreg_fast.loss.presets import Objective
from vicreg_fast.loss.primal import add_primal_gradient_, primal_covariance

_ALL_ROWS = slice(None)


class LossValue(NamedTuple):
    """Tensors in the accumulation dtype. The terms are unweighted, 0-d."""

    loss: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor
    variances: Tensor
    """(V, D): v of every dimension of both views."""


def value_and_gradient(
    x_ND: Tensor, y_ND: Tensor, *, objective: Objective, form: Form, views: slice | None
) -> tuple[LossValue, Tensor | None]:
    """The loss and its gradient for the views in `views` (a slice of (x, y); None for no gradient),
    (views, N, D).
    """
    N, D = x_ND.shape
    dtype = accumulation_dtype(x_ND.dtype)
    divisor = objective.preset.invariance_divisor(N, D)

    centred_VND = torch.empty(VIEWS, N, D, dtype=dtype, device=x_ND.device)
    # One row is taken off before the mean is: a large common offset then costs the mean no digits.
    for z_ND, centred_ND in zip((x_ND, y_ND), centred_VND, strict=True):
        torch.sub(z_ND, z_ND[0].to(dtype), out=centred_ND)
    centred_VND.sub_(centred_VND.mean(dim=1, keepdim=True))
    work_VND = torch.square(centred_VND)
    variance_VD = work_VND.sum(dim=1).div_(N - 1)
    std_VD = variance_VD.add(objective.epsilon).sqrt_()
    hinge_VD = (objective.gamma - std_VD).clamp_min_(0)
    variance = hinge_VD.sum() * (objective.preset.variance_factor / D)

    # The squares are spent: their memory takes the difference of the views, and then the gradient.
    difference_ND = torch.sub(x_ND, y_ND.to(dtype), out=work_VND[1])
    invariance = (squared_norm(difference_ND) / divisor).to(dtype)

    if form == "gram":
        covariance, product = gram_covariance(centred_VND, variance_VD, _ALL_ROWS)
    else:
        covariance, product = primal_covariance(centred_VND, _ALL_ROWS)

    loss = (
        objective.invariance_weight * invariance
        + objective.variance_weight * variance
        + objective.covariance_weight * covariance
    )
    value = LossValue(loss, invariance, variance, covariance, variance_VD)
    if views is None:
        return value, None

    gradient = _invariance_gradient(work_VND, views, objective.invariance_weight * 2 / divisor)
    slope = -objective.variance_weight * objective.preset.variance_factor / (D * (N - 1))
    pulled_VD = (hinge_VD > 0) & (std_VD > 0)
    column_VD = torch.where(pulled_VD, slope / std_VD, 0)
    weight = objective.covariance_weight
    if form == "gram":
        add_gram_gradient_(
            gradient,
            product[views],
            centred_VND[views],
            variance_VD[views],
            column_VD[views],
            _ALL_ROWS,
            weight,
        )
    else:
        add_primal_gradient_(
            gradient, product[views], centred_VND[views], column_VD[views], _ALL_ROWS, weight
        )
    return value, gradient


def _invariance_gradient(work_VND: Tensor, views: slice, scale: float) -> Tensor:
    """± scale · difference for the views in `views`; the difference is in `work_VND[1]`, and is spent."""
    if views == slice(0, 2):
        torch.mul(work_VND[1], scale, out=work_VND[0])
        work_VND[1].mul_(-scale)
        return work_VND
    # A view of one half would keep the memory of both.
    return work_VND[1:].mul(scale if views == slice(0, 1) else -scale)
