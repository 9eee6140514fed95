"""The Triton backend: three kernels forward (centre, product, finish) and one backward.

The forward keeps the centred views and the product; the backward writes the gradient once, in the embeddings'
dtype. Importing it imports Triton.

Legend: W = world size, V = views (2), n = rows differentiated here, N = W·n, D = embedding dimension.
"""

import torch
from torch import Tensor

from vicreg_fast.distributed import Ranks, sum_over_ranks
from vicreg_fast.loss.centring import ranked_views
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.plan import LossPlan, product_dtype
from vicreg_fast.loss.presets import Objective
from vicreg_fast.loss.triton_centre import centre_views, unit_of
from vicreg_fast.loss.triton_finish import finish
from vicreg_fast.loss.triton_gradient import scaled_gradient
from vicreg_fast.loss.triton_product import squared_product


def fused_forward(
    x_nD: Tensor, y_nD: Tensor, *, objective: Objective, plan: LossPlan, ranks: Ranks
) -> tuple[LossValue, tuple[Tensor, Tensor, Tensor]]:
    """The value, and what the backward needs beside the views: zc (V, N, D), the product, and the columns'
    coefficients (V, D).
    """
    n, D = x_nD.shape
    W = ranks.world_size
    N = W * n
    in_gram_form = plan.form == "gram"
    x_WnD, y_WnD = ranked_views(x_nD, y_nD, ranks, plan.exchange)
    if x_WnD.stride() != y_WnD.stride():
        x_WnD, y_WnD = x_WnD.contiguous(), y_WnD.contiguous()
    centred = centre_views(
        x_WnD,
        y_WnD,
        objective=objective,
        slope=-objective.variance_weight * objective.preset.variance_factor * W / (D * (N - 1)),
        product_scale=_product_scale(objective, N, D, W) if in_gram_form else 0.0,
    )
    zc_VND = centred.centred_VND
    rows = ranks.rows(n)
    factors = (zc_VND[:, rows], zc_VND) if in_gram_form else (zc_VND.mT, zc_VND.mT)
    product, energies = squared_product(
        *factors,
        alpha=centred.unit**2 / (N - 1),
        symmetric=not in_gram_form or W == 1,
        zero_diagonal=not in_gram_form,
        precision=_precision(),
        out_dtype=product_dtype(x_nD.dtype, plan.backend),
    )
    values = finish(
        centred,
        energies,
        objective=objective,
        invariance_divisor=objective.preset.invariance_divisor(N, D),
        diagonal_share=n / N if in_gram_form else 0.0,
        energy_share=1.0 if in_gram_form else n / N,
    )
    if W > 1:
        values = _summed(values, objective, ranks)
    value = LossValue(values[0], values[1], values[2], values[3:], centred.variance_VD)
    return value, (zc_VND, product, centred.column_VD)


def fused_backward(
    saved: tuple[Tensor, Tensor, Tensor],
    x_nD: Tensor,
    y_nD: Tensor,
    upstream: Tensor,
    *,
    objective: Objective,
    plan: LossPlan,
    ranks: Ranks,
    views: slice,
) -> Tensor:
    """upstream · the gradient of the views in `views`, (views, n, D) in the embeddings' dtype."""
    zc_VND, product, column_VD = saved
    n, D = x_nD.shape
    W = ranks.world_size
    local_VnD = zc_VND[:, ranks.rows(n)]
    unit = unit_of(x_nD.dtype)
    a, b = (product, zc_VND) if plan.form == "gram" else (local_VnD, product)
    return scaled_gradient(
        a,
        b,
        centred_VnD=local_VnD,
        column_VD=column_VD,
        x_nD=x_nD,
        y_nD=y_nD,
        upstream=upstream.to(torch.float32),
        product_scale=unit * _product_scale(objective, W * n, D, W),
        unit=unit,
        difference_scale=objective.invariance_weight * 2 / objective.preset.invariance_divisor(n, D),
        views=views,
        precision=_precision(),
    )


def _product_scale(objective: Objective, N: int, D: int, W: int) -> float:
    return objective.covariance_weight * W * 4 / (D * (N - 1))


def _precision() -> str:
    """Of products of float32: what torch was told for its own, through either of its interfaces. The getter
    of the older one raises where the newer one was used.
    """
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def _summed(values: Tensor, objective: Objective, ranks: Ranks) -> Tensor:
    """The loss and its terms with the covariances summed over the ranks; the others are of the whole batch
    already.
    """
    covariances = values[3:].clone()
    sum_over_ranks(covariances, ranks)
    loss = (
        objective.invariance_weight * values[1]
        + objective.variance_weight * values[2]
        + objective.covariance_weight * covariances.sum()
    )
    return torch.cat([loss.unsqueeze(0), values[1:3], covariances])
