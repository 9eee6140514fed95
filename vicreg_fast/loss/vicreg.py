"""VICReg's loss as a function and as a module: what a training loop calls.

Legend: n = rows of this process, N = rows of the batch (of all ranks), V = views (2), D = embedding
dimension.
"""

from typing import Literal, NamedTuple, overload

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vicreg_fast.distributed import SINGLE, Ranks, ranks_of, require_even_batches
from vicreg_fast.loss.autograd import VICRegFunction
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.operator import compiled_loss, options_text
from vicreg_fast.loss.plan import BACKENDS, FORMS, plan_loss
from vicreg_fast.loss.presets import Objective, preset_named, require_name

DEAD_FRACTION_OF_GAMMA = 0.01


class VICRegTerms(NamedTuple):
    """What the loss is made of, and the early signs of collapse: detached 0-d tensors in float32 (float64
    for float64).
    """

    invariance: Tensor
    """Unweighted, reduced as the preset says."""
    variance: Tensor
    """Unweighted, with the preset's factor."""
    covariance: Tensor
    """Unweighted, summed over the views."""
    std_mean: Tensor
    """Mean of σ = √(v + ε) over the dimensions of both views."""
    std_min: Tensor
    """The smallest σ; ε puts its floor at √ε, 0.01 in the official preset."""
    dead_fraction: Tensor
    """Share of the 2·D dimensions whose standard deviation √v, without ε, is below 0.01·γ: with ε none
    could be.
    """
    effective_rank: Tensor
    """(tr C)² / ‖C‖_F² of the view where it is smaller: the number of dimensions if all were decorrelated
    and of one variance, 1 if all were one. 0 for a constant batch.
    """
    off_diagonal_energy: Tensor
    """Σ_{j≠k} C_jk² / ‖C‖_F² of the view where it is larger: 0 where dimensions are decorrelated. 0 for a
    constant batch.
    """


@overload
def vicreg_loss(
    x: Tensor,
    y: Tensor,
    *,
    preset: str = ...,
    form: str = ...,
    backend: str = ...,
    return_terms: Literal[False] = ...,
    invariance_weight: float = ...,
    variance_weight: float = ...,
    covariance_weight: float = ...,
    gamma: float = ...,
    eps: float | None = ...,
    group: dist.ProcessGroup | None = ...,
    distributed: bool = ...,
) -> Tensor: ...
@overload
def vicreg_loss(
    x: Tensor,
    y: Tensor,
    *,
    preset: str = ...,
    form: str = ...,
    backend: str = ...,
    return_terms: Literal[True],
    invariance_weight: float = ...,
    variance_weight: float = ...,
    covariance_weight: float = ...,
    gamma: float = ...,
    eps: float | None = ...,
    group: dist.ProcessGroup | None = ...,
    distributed: bool = ...,
) -> tuple[Tensor, VICRegTerms]: ...
def vicreg_loss(
    x: Tensor,
    y: Tensor,
    *,
    preset: str = "official",
    form: str = "auto",
    backend: str = "auto",
    return_terms: bool = False,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gamma: float = 1.0,
    eps: float | None = None,
    group: dist.ProcessGroup | None = None,
    distributed: bool = True,
) -> Tensor | tuple[Tensor, VICRegTerms]:
    """VICReg's loss of two views' embeddings, each (N, D), of one floating dtype on one device, in any
    memory layout.

    Where torch.distributed is initialised, the batch is that of all ranks of `group` (by default of all),
    each bringing (n, D); every rank gets the loss of the whole, and W times its own rows' gradient, which
    DistributedDataParallel averages to the gradient of the whole. No collective is in the backward.
    `distributed=False` keeps to this process.

    Returns a 0-d tensor, float32 (float64 for float64 inputs), differentiable once; with `return_terms`,
    `(loss, terms)`. Autocast is switched off inside: everything is computed in float32 or float64. NaN and
    infinity reach the loss. `eps=None` takes the preset's. Sources: facebookresearch/vicreg,
    main_vicreg.py, `VICReg.forward` (`official`); arXiv:2105.04906, equations 1 to 6 (`paper`).

    Raises ValueError when the two are not a pair of such tensors, N < 2, or this process is not in `group`;
    UsageError for an option that is not valid and, on every rank, for ranks that bring unequal shapes or
    dtypes (on a GPU when a shape is new to all of them: see `require_even_batches`).
    """
    objective = Objective(
        preset=preset_named(preset),
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
        gamma=gamma,
        eps=eps,
    )
    ranks = ranks_of(group) if distributed else SINGLE
    return _loss(x, y, objective, form, backend, ranks, return_terms)


class VICRegLoss(nn.Module):
    """`vicreg_loss` with its options fixed and checked once. It has neither parameters nor state."""

    def __init__(
        self,
        preset: str = "official",
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        gamma: float = 1.0,
        eps: float | None = None,
        form: str = "auto",
        backend: str = "auto",
        group: dist.ProcessGroup | None = None,
        distributed: bool = True,
    ) -> None:
        """Raises UsageError for an option that is not valid."""
        super().__init__()
        self.objective = Objective(
            preset=preset_named(preset),
            invariance_weight=invariance_weight,
            variance_weight=variance_weight,
            covariance_weight=covariance_weight,
            gamma=gamma,
            eps=eps,
        )
        require_name("form", form, ("auto", *FORMS))
        require_name("backend", backend, ("auto", *BACKENDS))
        self.form = form
        self.backend = backend
        self.group = group
        self.distributed = distributed

    def forward(
        self, x: Tensor, y: Tensor, return_terms: bool = False
    ) -> Tensor | tuple[Tensor, VICRegTerms]:
        """As `vicreg_loss`: (N, D) twice to a 0-d tensor, or `(loss, terms)`. Raises ValueError as it
        does.
        """
        ranks = ranks_of(self.group) if self.distributed else SINGLE
        return _loss(x, y, self.objective, self.form, self.backend, ranks, return_terms)

    def extra_repr(self) -> str:
        o = self.objective
        return (
            f"preset={o.preset.name!r}, invariance_weight={o.invariance_weight}, "
            f"variance_weight={o.variance_weight}, covariance_weight={o.covariance_weight}, "
            f"gamma={o.gamma}, eps={o.epsilon}, form={self.form!r}, backend={self.backend!r}"
        )


def _loss(
    x: Tensor,
    y: Tensor,
    objective: Objective,
    form: str,
    backend: str,
    ranks: Ranks,
    return_terms: bool,
) -> Tensor | tuple[Tensor, VICRegTerms]:
    _check_views(x, y)
    compiling = torch.compiler.is_compiling()
    if not compiling:  # the operator asks when it runs
        require_even_batches(x, ranks)
    _check_rows(x, ranks.world_size)
    if compiling:
        value = compiled_loss(x, y, options_text(objective, form, backend), ranks)
    else:
        n, D = x.shape
        W = ranks.world_size
        plan = plan_loss(n, n * W, D, x.dtype, x.device.type, W, form=form, backend=backend)
        if not torch.is_grad_enabled():
            # A Function is told which inputs require a gradient, not that none is being recorded.
            x, y = x.detach(), y.detach()
        value = LossValue(*VICRegFunction.apply(x, y, objective, plan, ranks))
    return (value.loss, _terms(value, objective)) if return_terms else value.loss


@torch.no_grad()
def _terms(value: LossValue, objective: Objective) -> VICRegTerms:
    variance_VD = value.variances
    D = variance_VD.shape[1]
    std_VD = variance_VD.add(objective.epsilon).sqrt_()
    dead_below = (DEAD_FRACTION_OF_GAMMA * objective.gamma) ** 2
    # Rounding can leave a Gram form's covariance of decorrelated columns below zero.
    off_diagonal_V = (value.covariances * D).clamp_min(0)
    energy_V = off_diagonal_V + variance_VD.square().sum(dim=1)
    divisor_V = torch.where(energy_V == 0, 1, energy_V)
    return VICRegTerms(
        invariance=value.invariance,
        variance=value.variance,
        covariance=value.covariances.sum(),
        std_mean=std_VD.mean(),
        std_min=std_VD.min(),
        dead_fraction=(variance_VD < dead_below).to(std_VD.dtype).mean(),
        effective_rank=(variance_VD.sum(dim=1).square() / divisor_V).min(),
        off_diagonal_energy=(off_diagonal_V / divisor_V).max(),
    )


def _check_views(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"views must be 2-D, (N, D): they are {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape != y.shape:
        raise ValueError(f"views must have one shape: they are {tuple(x.shape)} and {tuple(y.shape)}")
    if x.dtype != y.dtype:
        raise ValueError(f"views must have one dtype: they are {x.dtype} and {y.dtype}")
    if x.device != y.device:
        raise ValueError(f"views must be on one device: they are on {x.device} and {y.device}")
    if not x.dtype.is_floating_point:
        raise ValueError(f"views must be of a floating dtype: they are {x.dtype}; convert them with .float()")


def _check_rows(x: Tensor, world_size: int) -> None:
    if x.shape[0] * world_size < 2 or x.shape[1] < 1:
        raise ValueError(f"views of shape {tuple(x.shape)}: at least two rows and one dimension are needed")
