"""The one torch.autograd.Function of the loss: it keeps the gradient and multiplies it by what comes from
upstream.

Nothing here waits for the device or branches on its data, so a CUDA graph can capture both directions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vicreg_fast.loss.closed_form import LossValue, value_and_gradient
from vicreg_fast.loss.plan import LossPlan
from vicreg_fast.loss.presets import Objective


class VICRegFunction(torch.autograd.Function):
    """(x, y), both (N, D) of one floating dtype, to a LossValue of which only `loss` is differentiable.

    Saves the gradient of the views that need one, in the accumulation dtype (half precision would underflow
    before the loss scale arrives), and nothing else. Gradients are returned in the dtype of the inputs.
    Second derivatives are refused.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, objective: Objective, plan: LossPlan) -> LossValue:
        needs_x, needs_y = ctx.needs_input_grad[:2]
        views = slice(0 if needs_x else 1, 2 if needs_y else 1) if needs_x or needs_y else None
        with torch.autocast(x.device.type, enabled=False):
            value, gradient = value_and_gradient(x, y, objective=objective, form=plan.form, views=views)
        ctx.save_for_backward(*(() if gradient is None else (gradient,)))
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(value.invariance, value.variance, value.covariance, value.variances)
        ctx.dtype = x.dtype
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return None, None, None, None
        (gradient,) = ctx.saved_tensors
        scaled = torch.mul(gradient, upstream, out=torch.empty_like(gradient, dtype=ctx.dtype))
        views = iter(scaled)
        needs_x, needs_y = ctx.needs_input_grad[:2]
        return (next(views) if needs_x else None), (next(views) if needs_y else None), None, None
