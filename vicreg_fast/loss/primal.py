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

from vicreg_fast.loss.numerics import squared_norm


def primal_covariance(centred_VND: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """These rows' share of the covariance term of all views, 0-d, and E (V, D, D), both in the dtype of
    `centred_VND`.

    E is of the whole batch, whatever the rows. Shares of row ranges that partition the batch sum to the term.
    """
    V, N, D = centred_VND.shape
    n = centred_VND[:, rows].shape[1]
    off_diagonal_VDD = torch.baddbmm(
        centred_VND.new_empty(V, D, D), centred_VND.mT, centred_VND, beta=0, alpha=1 / (N - 1)
    )
    off_diagonal_VDD.diagonal(dim1=1, dim2=2).zero_()
    term = squared_norm(off_diagonal_VDD) * (n / (N * D))
    return term.to(centred_VND.dtype), off_diagonal_VDD


def add_primal_gradient_(
    gradient_VnD: Tensor,
    off_diagonal_VDD: Tensor,
    centred_VND: Tensor,
    column_VD: Tensor,
    rows: slice,
    weight: float,
) -> None:
    """Adds to `gradient_VnD` weight·∂cov/∂Z + zc ⊙ column, of these rows.

    `column_VD` is the variance term's coefficient of each column.
    """
    _, N, D = centred_VND.shape
    local_VnD = centred_VND[:, rows]
    gradient_VnD.addcmul_(local_VnD, column_VD.unsqueeze(1))
    scale = weight * 4 / (D * (N - 1))
    torch.baddbmm(gradient_VnD, local_VnD, off_diagonal_VDD, alpha=scale, out=gradient_VnD)
