"""The authors' loss, with the operations and the memory of their code: what the baseline trains with, and
what ours is timed against. Source: facebookresearch/vicreg, main_vicreg.py, `VICReg.forward` and
`off_diagonal`, on one process.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def official_loss(
    x: Tensor,
    y: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gathered: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The authors' loss of two views, each (N, D), in their dtype, as a 0-d tensor; autograd
    differentiates it.

    Eager, with D×D matrices: per view one covariance, one copy of its off-diagonal entries, and their squares
    in place. γ = 1 and ε = 1e-4. On one of several ranks `gathered` are both views of all of them, (N, D), of
    which x and y are this rank's rows. Raises what torch raises for views that are not a pair of (N, D).
    """
    invariance = F.mse_loss(x, y)
    x, y = gathered or (x, y)
    N, D = x.shape
    x_ND = x - x.mean(dim=0)
    y_ND = y - y.mean(dim=0)
    std_x_D = torch.sqrt(x_ND.var(dim=0) + 1e-4)
    std_y_D = torch.sqrt(y_ND.var(dim=0) + 1e-4)
    variance = F.relu(1 - std_x_D).mean() / 2 + F.relu(1 - std_y_D).mean() / 2
    covariance_x_DD = x_ND.T @ x_ND / (N - 1)
    covariance_y_DD = y_ND.T @ y_ND / (N - 1)
    covariance = (
        _off_diagonal(covariance_x_DD).pow_(2).sum() / D + _off_diagonal(covariance_y_DD).pow_(2).sum() / D
    )
    return invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance


def _off_diagonal(matrix_DD: Tensor) -> Tensor:
    """A copy of the D·(D−1) entries off the diagonal, in order.

    Without its first entry, a contiguous D×D matrix is D−1 rows of D+1 of which each ends with a diagonal
    entry.
    """
    D = matrix_DD.shape[0]
    return matrix_DD.flatten()[1:].view(D - 1, D + 1)[:, :-1].flatten()
