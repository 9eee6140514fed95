"""The float64 oracle: VICReg's loss by definition, differentiated by autograd. For tests; never used to
train.

Written from the definition, one line a term, with the D×D covariance matrix in full. It imports nothing of
ours, so that nothing of ours can be wrong in the same way. Legend: N = batch, D = embedding dimension,
z_ND = one view's embeddings.

Sources: Bardes, Ponce, LeCun, "VICReg", arXiv:2105.04906, equations 1 to 6; facebookresearch/vicreg,
main_vicreg.py, `VICReg.forward` (preset `official`); the other presets are in the table of the design,
section 2.
"""

import torch
from torch import Tensor

_EPS = {"official": 1e-4, "paper": 1e-4, "summed": 1e-4, "no-eps": 0.0}


def vicreg_reference(
    x: Tensor,
    y: Tensor,
    *,
    preset: str = "official",
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gamma: float = 1.0,
    eps: float | None = None,
    return_terms: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """The loss of two views (N, D) of any floating dtype, as a 0-d float64 tensor that autograd
    differentiates.

    With `return_terms`, also the unweighted `invariance`, `variance` and `covariance`. `eps=None` takes the
    preset's. Raises ValueError for a preset that is not in the table.
    """
    if preset not in _EPS:
        raise ValueError(f"preset {preset!r} is not one of {', '.join(_EPS)}")
    x_ND, y_ND = x.double(), y.double()
    epsilon = _EPS[preset] if eps is None else eps

    squares_ND = (x_ND - y_ND).pow(2)
    invariance = squares_ND.sum(dim=1).mean() if preset == "paper" else squares_ND.mean()

    variance_x, covariance_x = _variance_and_covariance(x_ND, gamma, epsilon)
    variance_y, covariance_y = _variance_and_covariance(y_ND, gamma, epsilon)
    variance = (variance_x + variance_y) / 2 if preset == "official" else variance_x + variance_y
    covariance = covariance_x + covariance_y

    loss = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
    if return_terms:
        return loss, {"invariance": invariance, "variance": variance, "covariance": covariance}
    return loss


def _variance_and_covariance(z_ND: Tensor, gamma: float, eps: float) -> tuple[Tensor, Tensor]:
    """The hinge on the standard deviations, and the sum of squared covariances over D, of one view."""
    N, D = z_ND.shape
    centred_ND = z_ND - z_ND.mean(dim=0)
    std_D = (centred_ND.pow(2).sum(dim=0) / (N - 1) + eps).sqrt()
    hinge = torch.relu(gamma - std_D).mean()
    covariance_DD = centred_ND.T @ centred_ND / (N - 1)
    off_diagonal_DD = covariance_DD - torch.diag(torch.diagonal(covariance_DD))
    return hinge, off_diagonal_DD.pow(2).sum() / D
