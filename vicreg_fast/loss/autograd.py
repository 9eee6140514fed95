"""The one torch.autograd.Function of the loss."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vicreg_fast.distributed import Ranks
from vicreg_fast.loss import backends
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.plan import LossPlan
from vicreg_fast.loss.presets import Objective


class VICRegFunction(torch.autograd.Function):
    """(x, y), both (n, D) of one floating dtype, to a LossValue of which only `loss` is differentiable.

    Saves what its backend's forward says: with torch the gradient of the views that need one and nothing
    else. Gradients are returned in the dtype of the inputs. Second derivatives are refused.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, objective: Objective, plan: LossPlan, ranks: Ranks
    ) -> LossValue:
        views = backends.wanted_views(*ctx.needs_input_grad[:2])
        value, saved = backends.forward(x, y, objective=objective, plan=plan, ranks=ranks, views=views)
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(value.invariance, value.variance, value.covariances, value.variances)
        ctx.options = {"dtype": x.dtype, "objective": objective, "plan": plan, "ranks": ranks, "views": views}
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return None, None, None, None, None
        gradients = iter(backends.backward(ctx.saved_tensors, upstream, **ctx.options))
        needs_x, needs_y = ctx.needs_input_grad[:2]
        return (
            (next(gradients) if needs_x else None),
            (next(gradients) if needs_y else None),
            None,
            None,
            None,
        )
