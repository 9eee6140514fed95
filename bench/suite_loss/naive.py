"""The yardstick: VICReg's loss written plainly, differentiated by autograd, in either form. It never changes.

Times of two revisions are compared through their ratio to this loss, in the same process and within moments,
so it has to be the same for ever: a test pins the source of this file. It is as heavy as the forms it stands
beside (three products instead of two) and uses the same library calls, so that what slows the machine down
slows both. Sources: facebookresearch/vicreg, main_vicreg.py (`official` weights); the Gram identity is in
vicreg_fast/loss/gram.py.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def naive_covariance_loss(x: Tensor, y: Tensor) -> Tensor:
    """The loss of two views (N, D) in float32, 0-d, through D×D matrices."""
    return _naive_loss(x, y, lambda centred_ND: centred_ND.T @ centred_ND)


def naive_gram_loss(x: Tensor, y: Tensor) -> Tensor:
    """The loss of two views (N, D) in float32, 0-d, through N×N matrices."""
    return _naive_loss(x, y, lambda centred_ND: centred_ND @ centred_ND.T)


def _naive_loss(x: Tensor, y: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    x_ND, y_ND = x.float(), y.float()
    N, D = x_ND.shape
    loss = 25 * F.mse_loss(x_ND, y_ND)
    for z_ND in (x_ND, y_ND):
        centred_ND = z_ND - z_ND.mean(dim=0)
        variance_D = centred_ND.square().sum(dim=0) / (N - 1)
        hinge = F.relu(1 - (variance_D + 1e-4).sqrt()).mean()
        squares = (product(centred_ND) / (N - 1)).square().sum() - variance_D.square().sum()
        loss = loss + 25 * hinge / 2 + squares / D
    return loss
