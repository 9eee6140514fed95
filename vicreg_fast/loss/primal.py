"""The covariance term through the D×D covariance matrix, in closed form: the definition, with its gradient
by hand.

Let zc be one view's centred embeddings (N×D), C = zcᵀzc/(N−1) and E = C − diag C. The term is

    cov = (1/D) Σ_{j≠k} C_jk² = ‖E‖_F² / D.

Its differential is (2/D)⟨E, dE⟩ = (2/D)⟨E, dC⟩, E's diagonal being zero, with dC = (dzcᵀ·zc +
zcᵀ·dzc)/(N−1). E is symmetric, so

    ∂cov/∂zc = 4/(D(N−1)) · zc·E.

The columns of zc sum to zero, and so do those of zc·E: the gradient for Z is the gradient for zc, as it
stands. Nothing is subtracted, so nothing cancels, and two products take the place of autograd's three.

Legend: V = views, n = rows differentiated here, N = rows of the batch, D = embedding dimension.
"""

import torch
from torch import Tensor

from vicreg_fast.distributed import Ranks, sum_over_ranks
from vicreg_fast.loss.numerics import squared_norms


def primal_covariance(centred_VrD: Tensor, N: int, n: int, summed: Ranks | None) -> tuple[Tensor, Tensor]:
    """The share of n of N rows in each view's covariance term, (V,), and E (V, D, D), both in the dtype of
    `centred_VrD`.

    E is of the whole batch. `centred_VrD` is the whole of it, or, with `summed`, this rank's rows, and then E
    is summed over the ranks. Shares of ranks sum to the term.
    """
    V, _, D = centred_VrD.shape
    off_diagonal_VDD = centred_VrD.new_empty(V, D, D)
    torch.baddbmm(
        off_diagonal_VDD, centred_VrD.mT, centred_VrD, beta=0, alpha=1 / (N - 1), out=off_diagonal_VDD
    )
    off_diagonal_VDD.diagonal(dim1=1, dim2=2).zero_()
    if summed is not None:
        sum_over_ranks(off_diagonal_VDD, summed)
    terms_V = squared_norms(off_diagonal_VDD) * (n / (N * D))
    return terms_V.to(centred_VrD.dtype), off_diagonal_VDD


def add_primal_gradient_(
    gradient_VnD: Tensor,
    off_diagonal_VDD: Tensor,
    centred_VnD: Tensor,
    column_VD: Tensor,
    N: int,
    weight: float,
) -> None:
    """Adds to `gradient_VnD` weight·∂cov/∂Z + zc ⊙ column, of the rows of `centred_VnD`.

    `column_VD` is the variance term's coefficient of each column.
    """
    D = centred_VnD.shape[2]
    gradient_VnD.addcmul_(centred_VnD, column_VD.unsqueeze(1))
    scale = weight * 4 / (D * (N - 1))
    torch.baddbmm(gradient_VnD, centred_VnD, off_diagonal_VDD, alpha=scale, out=gradient_VnD)
