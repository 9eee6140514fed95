"""The loss as a registered operator, so that `torch.compile(fullgraph=True)` traces through it as one node.

`vicreg_fast::loss` returns LossValue's five tensors and what it made for its backward, which is
`vicreg_fast::loss_gradient`. Eager code does not come here: the autograd.Function has less overhead.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vicreg_fast.distributed import SINGLE, Ranks, require_even_batches
from vicreg_fast.loss import backends
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.numerics import accumulation_dtype
from vicreg_fast.loss.plan import VIEWS, LossPlan, operand_dtype, plan_loss, product_dtype
from vicreg_fast.loss.presets import Objective, preset_named

_VALUES = len(LossValue._fields)


@torch.library.custom_op("vicreg_fast::loss", mutates_args=())
def loss_operator(
    x: Tensor,
    y: Tensor,
    options: str,
    group: str,
    needs_x: bool,
    needs_y: bool,
) -> list[Tensor]:
    """(n, D) twice to LossValue's tensors and those made for the backward. `options` is of `options_text`;
    `group` is the name of the process group, empty for one process.
    """
    objective, form, backend = _parsed(options)
    ranks = _ranks(group)
    require_even_batches(x, ranks)
    value, saved = backends.forward(
        x,
        y,
        objective=objective,
        plan=_plan(x, form, backend, ranks, x.dtype),
        ranks=ranks,
        views=backends.wanted_views(needs_x, needs_y),
    )
    # An operator may return neither its inputs nor two views of one memory.
    apart = [t if t.untyped_storage().nbytes() == t.nbytes else t.clone() for t in value]
    return apart + [t for t in saved if t is not x and t is not y]


@loss_operator.register_fake
def _(
    x: Tensor,
    y: Tensor,
    options: str,
    group: str,
    needs_x: bool,
    needs_y: bool,
) -> list[Tensor]:
    _, form, backend = _parsed(options)
    ranks = _ranks(group)
    plan = _plan(x, form, backend, ranks, x.dtype)
    n, D = x.shape
    N = n * ranks.world_size
    wide = accumulation_dtype(x.dtype)

    def new(*shape: int, dtype: torch.dtype = wide) -> Tensor:
        return x.new_empty(shape, dtype=dtype)

    outputs = [new(), new(), new(), new(VIEWS), new(VIEWS, D)]
    if not (needs_x or needs_y):
        return outputs
    if plan.backend == "torch":
        return [*outputs, new(needs_x + needs_y, n, D)]
    side = (n, N) if plan.form == "gram" else (D, D)
    centred = new(VIEWS, N, D, dtype=operand_dtype(x.dtype, plan.backend))
    product = new(VIEWS, *side, dtype=product_dtype(x.dtype, plan.backend))
    return [*outputs, centred, product, new(VIEWS, D)]


@torch.library.custom_op("vicreg_fast::loss_gradient", mutates_args=())
def gradient_operator(
    saved: list[Tensor],
    upstream: Tensor,
    dtype: torch.dtype,
    options: str,
    group: str,
    needs_x: bool,
    needs_y: bool,
) -> Tensor:
    """The gradient of the views that need one, (views, n, D) in the views' `dtype`. `saved` is what the
    backend's backward takes, and its last tensor ends in (n, D).
    """
    objective, form, backend = _parsed(options)
    ranks, views = _ranks(group), backends.wanted_views(needs_x, needs_y)
    if views is None:
        raise ValueError("no view needs a gradient")
    return backends.backward(
        saved,
        upstream,
        dtype=dtype,
        objective=objective,
        plan=_plan(saved[-1], form, backend, ranks, dtype),
        ranks=ranks,
        views=views,
    )


@gradient_operator.register_fake
def _(
    saved: list[Tensor],
    upstream: Tensor,
    dtype: torch.dtype,
    options: str,
    group: str,
    needs_x: bool,
    needs_y: bool,
) -> Tensor:
    return saved[-1].new_empty((needs_x + needs_y, *saved[-1].shape[-2:]), dtype=dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, y, *ctx.options = inputs
    made = output[_VALUES:]
    ctx.dtype = x.dtype
    ctx.save_for_backward(*made, *((x, y) if len(made) > 1 else ()))


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    needs_x, needs_y = ctx.options[-2:]
    rest = [None] * len(ctx.options)
    upstream = gradients[0]
    if upstream is None or not (needs_x or needs_y):
        return None, None, *rest
    found = iter(gradient_operator(list(ctx.saved_tensors), upstream, ctx.dtype, *ctx.options))
    return (next(found) if needs_x else None), (next(found) if needs_y else None), *rest


loss_operator.register_autograd(_backward, setup_context=_setup_context)


def compiled_loss(x: Tensor, y: Tensor, options: str, ranks: Ranks) -> LossValue:
    """LossValue by the operator, differentiable in `loss`. `options` is of `options_text`."""
    recorded = torch.is_grad_enabled()
    needs = (recorded and x.requires_grad, recorded and y.requires_grad)
    group = ranks.group.group_name if ranks.group is not None else ""
    outputs = loss_operator(x, y, options, group, *needs)
    loss, *terms = outputs[:_VALUES]
    return LossValue(loss, *(term.detach() for term in terms))


def options_text(objective: Objective, form: str, backend: str) -> str:
    """What an operator takes as one argument. Numbers are in hexadecimal, which loses no digit, and which
    torch.compile takes for constants: it would leave a number open that changes between calls.
    """
    o = objective
    numbers = (o.invariance_weight, o.variance_weight, o.covariance_weight, o.gamma, o.epsilon)
    return " ".join([o.preset.name, form, backend, *[float(number).hex() for number in numbers]])


@lru_cache(maxsize=64)
def _parsed(options: str) -> tuple[Objective, str, str]:
    preset, form, backend, *numbers = options.split()
    invariance, variance, covariance, gamma, eps = (float.fromhex(number) for number in numbers)
    objective = Objective(
        preset=preset_named(preset),
        invariance_weight=invariance,
        variance_weight=variance,
        covariance_weight=covariance,
        gamma=gamma,
        eps=eps,
    )
    return objective, form, backend


def _ranks(group: str) -> Ranks:
    if not group:
        return SINGLE
    found = dist.distributed_c10d._resolve_process_group(group)  # type: ignore[arg-type]
    return Ranks(rank=found.rank(), world_size=found.size(), group=found)


def _plan(like: Tensor, form: str, backend: str, ranks: Ranks, dtype: torch.dtype) -> LossPlan:
    # int(): a traced size is fixed by the plan it leads to
    n, D, W = int(like.shape[-2]), int(like.shape[-1]), ranks.world_size
    return plan_loss(n, n * W, D, dtype, like.device.type, W, form=form, backend=backend)
