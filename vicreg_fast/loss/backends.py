"""The two backends behind one pair of functions: a forward that says what it keeps, and a backward.

Nothing here waits for the device or branches on its data, so a CUDA graph can capture both directions.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from vicreg_fast.distributed import Ranks
from vicreg_fast.loss.closed_form import LossValue, value_and_gradient
from vicreg_fast.loss.plan import LossPlan
from vicreg_fast.loss.presets import Objective


def wanted_views(needs_x: bool, needs_y: bool) -> slice | None:
    """The views that need a gradient, as a slice of (x, y)."""
    return slice(0 if needs_x else 1, 2 if needs_y else 1) if needs_x or needs_y else None


def forward(
    x_nD: Tensor, y_nD: Tensor, *, objective: Objective, plan: LossPlan, ranks: Ranks, views: slice | None
) -> tuple[LossValue, tuple[Tensor, ...]]:
    """The value, and what `backward` needs: nothing where `views` is None, the gradient in the accumulation
    dtype with the torch backend (half precision would underflow before the loss scale arrives), three tensors
    and the views themselves with Triton's.
    """
    with torch.autocast(x_nD.device.type, enabled=False):
        if plan.backend == "triton":
            from vicreg_fast.loss.fused import fused_forward

            with _device_of(x_nD):
                value, saved = fused_forward(x_nD, y_nD, objective=objective, plan=plan, ranks=ranks)
            return value, () if views is None else (*saved, x_nD, y_nD)
        value, gradient = value_and_gradient(
            x_nD, y_nD, objective=objective, plan=plan, ranks=ranks, views=views
        )
        return value, () if gradient is None else (gradient,)


def backward(
    saved: Sequence[Tensor],
    upstream: Tensor,
    *,
    dtype: torch.dtype,
    objective: Objective,
    plan: LossPlan,
    ranks: Ranks,
    views: slice,
) -> Tensor:
    """upstream · the gradient of the views in `views`, (views, n, D) in the embeddings' `dtype`."""
    if plan.backend == "triton":
        from vicreg_fast.loss.fused import fused_backward

        centred, product, columns, x_nD, y_nD = saved
        with _device_of(x_nD):
            return fused_backward(
                (centred, product, columns),
                x_nD,
                y_nD,
                upstream,
                objective=objective,
                plan=plan,
                ranks=ranks,
                views=views,
            )
    (gradient,) = saved
    return torch.mul(gradient, upstream, out=torch.empty_like(gradient, dtype=dtype))


def _device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, wherever its arguments are."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
