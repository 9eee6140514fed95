"""The covariance term through the N×N Gram matrix, in closed form.

Let zc be one view's centred embeddings (N×D), C = zcᵀzc/(N−1) its covariance (D×D), v = diag C, and G =
zc·zcᵀ/(N−1) (N×N). The term is (1/D) Σ_{j≠k} C_jk². A matrix and its transpose's product have the same
Frobenius norm in either order,

    ‖C‖_F² = tr(zcᵀzc·zcᵀzc)/(N−1)² = tr(zc·zcᵀ·zc·zcᵀ)/(N−1)² = ‖G‖_F²,

so the term is exactly

    cov = ( ‖G‖_F² − Σ_j v_j² ) / D.

Its differential is (2/D)(⟨G, dG⟩ − ⟨v, dv⟩) with dG = (dzc·zcᵀ + zc·dzcᵀ)/(N−1) and dv_j = 2/(N−1) Σ_i
zc_ij·dzc_ij, hence

    ∂cov/∂zc = 4/(D(N−1)) · ( G·zc − zc ⊙ v ).

The columns of zc sum to zero, and so do those of G·zc and zc ⊙ v: the gradient for Z is the gradient for
zc, as it stands.

G and v carry their division by N−1, so that no square of a sum over the batch is ever formed. For D ≥ 2N
the subtraction is safe: rank(G) < N gives ‖G‖_F² ≥ (Σv)²/(N−1) > 2·Σv² at equal variances. As D comes down
to N it can cancel, where columns are uncorrelated: the error is then a rounding of v², not of the term. For
D ≤ N the covariance form is less work as well, and is what the plan takes.

Legend: V = views, n = rows differentiated here, N = rows of the batch, D = embedding dimension.
"""

import torch
from torch import Tensor

from vicreg_fast.loss.numerics import squared_norms


def gram_covariance(centred_VND: Tensor, variance_VD: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """These rows' share of each view's covariance term, (V,), and G (V, n, N), both in the dtype of
    `centred_VND`.

    Shares of row ranges that partition the batch sum to the term. `variance_VD` is v.
    """
    V, N, D = centred_VND.shape
    local_VnD = centred_VND[:, rows]
    n = local_VnD.shape[1]
    gram_VnN = centred_VND.new_empty(V, n, N)
    torch.baddbmm(gram_VnN, local_VnD, centred_VND.mT, beta=0, alpha=1 / (N - 1), out=gram_VnN)
    all_pairs_V = squared_norms(gram_VnN)
    diagonal_V = squared_norms(variance_VD.unsqueeze(1)) * (n / N)
    return ((all_pairs_V - diagonal_V) / D).to(centred_VND.dtype), gram_VnN


def add_gram_gradient_(
    gradient_VnD: Tensor,
    gram_VnN: Tensor,
    centred_VND: Tensor,
    variance_VD: Tensor,
    column_VD: Tensor,
    rows: slice,
    weight: float,
) -> None:
    """Adds to `gradient_VnD` weight·∂cov/∂Z + zc ⊙ column, of these rows.

    `column_VD` is the variance term's coefficient of each column: v's own is of the same shape, and both take
    one pass.
    """
    _, N, D = centred_VND.shape
    scale = weight * 4 / (D * (N - 1))
    by_column_VD = torch.sub(column_VD, variance_VD, alpha=scale)
    gradient_VnD.addcmul_(centred_VND[:, rows], by_column_VD.unsqueeze(1))
    torch.baddbmm(gradient_VnD, gram_VnN, centred_VND, alpha=scale, out=gradient_VnD)
