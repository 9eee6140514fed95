"""Other implementations of the loss that people use: two formulas, with the operations of their sources, and
two packages as they are installed.

Each is differentiated by autograd. Sources, all under the MIT licence: solo-learn, solo/losses/vicreg.py;
augwester/vicreg, loss.py, with the weights of its train.py; lightly, lightly.loss.VICRegLoss;
stable-pretraining, stable_pretraining.losses.VICRegLoss.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Two views, each (N, D), to a 0-d tensor that autograd differentiates."""


def solo_learn_loss(x: Tensor, y: Tensor) -> Tensor:
    """solo-learn's loss of two views (N, D), on one process, with its default weights 25, 25 and 1.

    The variance term is the sum of both views' hinges, not half of it. Entries off the diagonal are taken by
    a boolean mask, made anew for each view, which waits for the device. Its identity matrix is float32
    whatever the views are.
    """
    N, D = x.shape
    variance = _hinge(torch.sqrt(x.var(dim=0) + 1e-4)) + _hinge(torch.sqrt(y.var(dim=0) + 1e-4))
    covariances_DD = []
    for z_ND in (x, y):
        centred_ND = z_ND - z_ND.mean(dim=0)
        covariances_DD.append(centred_ND.T @ centred_ND / (N - 1))
    identity_DD = torch.eye(D, device=x.device)
    x_energy, y_energy = (c_DD[~identity_DD.bool()].pow_(2).sum() / D for c_DD in covariances_DD)
    return 25.0 * F.mse_loss(x, y) + 25.0 * variance + 1.0 * (x_energy + y_energy)


def augwester_loss(x: Tensor, y: Tensor) -> Tensor:
    """augwester's loss of two views (N, D), with its weights 25, 25 and 1.

    The standard deviation is taken without ε, the variance term is the sum of both views' hinges, and the
    diagonal is subtracted after squaring.
    """
    energies = []
    for z_ND in (x, y):
        N, D = z_ND.shape
        mean_D = z_ND.mean(0)
        covariance_DD = torch.einsum("ni,nj->ij", z_ND - mean_D, z_ND - mean_D) / (N - 1)
        energies.append((covariance_DD.pow(2).sum() - covariance_DD.pow(2).diag().sum()) / D)
    variance = _hinge(x.std(0)) + _hinge(y.std(0))
    return 25 * F.mse_loss(x, y) + 25 * variance + 1 * (energies[0] + energies[1])


def lightly_loss() -> LossFunction:
    """The installed package's module, with its default weights. Raises ImportError where it is missing."""
    from lightly.loss import VICRegLoss

    module: LossFunction = VICRegLoss()
    return module


def stable_pretraining_loss() -> LossFunction:
    """The installed package's module, with its default weights. Raises ImportError where it is missing."""
    from stable_pretraining.losses import VICRegLoss

    module: LossFunction = VICRegLoss()
    return module


def _hinge(std_D: Tensor) -> Tensor:
    return F.relu(1 - std_D).mean()
