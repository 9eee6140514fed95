"""VICReg's loss as a function and as a module: what a training loop calls.

Legend: N = batch, D = embedding dimension.
"""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from vicreg_fast.loss.autograd import VICRegFunction
from vicreg_fast.loss.closed_form import LossValue
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
) -> Tensor | tuple[Tensor, VICRegTerms]:
    """VICReg's loss of two views' embeddings, each (N, D), of one floating dtype on one device, in any
    memory layout.

    Returns a 0-d tensor, float32 (float64 for float64 inputs), differentiable once; with `return_terms`,
    `(loss, terms)`. Autocast is switched off inside: everything is computed in float32 or float64. NaN and
    infinity reach the loss. `eps=None` takes the preset's. Sources: facebookresearch/vicreg,
    main_vicreg.py, `VICReg.forward` (`official`); arXiv:2105.04906, equations 1 to 6 (`paper`).

    Raises ValueError when the two are not a pair of such tensors or N < 2, and UsageError for an option that
    is not valid.
    """
    objective = Objective(
        preset=preset_named(preset),
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
        gamma=gamma,
        eps=eps,
    )
    return _loss(x, y, objective, form, backend, return_terms)


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

    def forward(
        self, x: Tensor, y: Tensor, return_terms: bool = False
    ) -> Tensor | tuple[Tensor, VICRegTerms]:
        """As `vicreg_loss`: (N, D) twice to a 0-d tensor, or `(loss, terms)`. Raises ValueError as it
        does.
        """
        return _loss(x, y, self.objective, self.form, self.backend, return_terms)

    def extra_repr(self) -> str:
        o = self.objective
        return (
            f"preset={o.preset.name!r}, invariance_weight={o.invariance_weight}, "
            f"variance_weight={o.variance_weight}, covariance_weight={o.covariance_weight}, "
            f"gamma={o.gamma}, eps={o.epsilon}, form={self.form!r}, backend={self.backend!r}"
        )


def _loss(
    x: Tensor, y: Tensor, objective: Objective, form: str, backend: str, return_terms: bool
) -> Tensor | tuple[Tensor, VICRegTerms]:
    _check_views(x, y)
    N, D = x.shape
    plan = plan_loss(N, N, D, x.dtype, x.device.type, form=form, backend=backend)
    if not torch.is_grad_enabled():
        # A Function is told which inputs require a gradient, not that none is being recorded.
        x, y = x.detach(), y.detach()
    value = LossValue(*VICRegFunction.apply(x, y, objective, plan))
    return (value.loss, _terms(value, objective)) if return_terms else value.loss


@torch.no_grad()
def _terms(value: LossValue, objective: Objective) -> VICRegTerms:
    std_VD = value.variances.add(objective.epsilon).sqrt_()
    dead_below = (DEAD_FRACTION_OF_GAMMA * objective.gamma) ** 2
    return VICRegTerms(
        invariance=value.invariance,
        variance=value.variance,
        covariance=value.covariance,
        std_mean=std_VD.mean(),
        std_min=std_VD.min(),
        dead_fraction=(value.variances < dead_below).to(std_VD.dtype).mean(),
    )


def _check_views(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"views must be 2-D, (N, D): they are {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape != y.shape:
        raise ValueError(f"views must have one shape: they are {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"views of shape {tuple(x.shape)}: at least two rows and one dimension are needed")
    if x.dtype != y.dtype:
        raise ValueError(f"views must have one dtype: they are {x.dtype} and {y.dtype}")
    if x.device != y.device:
        raise ValueError(f"views must be on one device: they are on {x.device} and {y.device}")
    if not x.dtype.is_floating_point:
        raise ValueError(f"views must be of a floating dtype: they are {x.dtype}; convert them with .float()")
