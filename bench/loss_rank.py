"""One rank's share of the loss of several, timed on one device without the others: what it computes, and not
what the links between ranks cost.

The rank holds n rows of each view and gets the other ranks' rows by a copy within the device, where a real
one gets them over a link. Ours computes its own rows' gradient and is done. The authors' code computes the
loss of all rows, and its backward the gradient of all, of which an all-reduce then sums W copies: that sum is
left out, in their favour.

Legend: W = ranks, n = rows of this one, N = W·n, V = views (2), D = embedding dimension.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bench.loss_providers import OFFICIAL, LossProvider
from bench.loss_record import LossRankTiming
from bench.loss_speed import Pairs, draw_views, time_losses
from bench.rival_losses import LossFunction
from bench.rivals import official_loss
from vicreg_fast.distributed import Ranks, exchange
from vicreg_fast.loss.autograd import VICRegFunction
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.plan import LossPlan, plan_loss
from vicreg_fast.loss.presets import Objective, preset_named
from vicreg_fast.loss.reference import vicreg_reference


def time_rank(
    providers: Sequence[LossProvider],
    n: int,
    d: int,
    world_size: int,
    dtype: torch.dtype,
    device: torch.device,
    pairs: Pairs,
    seed: int = 0,
) -> list[LossRankTiming]:
    """Of `official` and each of ours among `providers`, forward and backward on the n rows of rank 0 of
    `world_size`, interleaved. Raises what a loss raises, and ArithmeticError where the gradient of one of
    ours is not that of the float64 oracle for the whole batch, to twice the error of the plain formula."""
    x_ND, y_ND = draw_views(n * world_size, d, dtype, device, seed)
    x, y = (view.detach()[:n].clone().requires_grad_() for view in (x_ND, y_ND))
    others = (x_ND.detach()[n:].clone(), y_ND.detach()[n:].clone())
    losses: dict[str, LossFunction] = {}
    plans: dict[str, LossPlan] = {}
    errors: dict[str, tuple[float, float]] = {}
    true, allowed = _true_gradients(x_ND, y_ND, n)
    del x_ND, y_ND
    with _other_ranks(torch.stack([view.view(world_size - 1, n, d) for view in others], dim=1)):
        for provider in providers:
            if provider.name == OFFICIAL:
                losses[OFFICIAL] = partial(_official, others)
            elif provider.ours and not provider.graphed:
                plan = plan_loss(
                    n, n * world_size, d, dtype, device.type, world_size,
                    form=provider.form, backend=provider.backend,
                )  # fmt: skip
                loss = partial(_ours, plan, Ranks(rank=0, world_size=world_size))
                error = _error(torch.autograd.grad(loss(x, y), (x, y)), true, world_size)
                if not error <= allowed:
                    raise ArithmeticError(
                        f"{provider.name}: its gradient as a rank of {world_size} is off by {error:.1e}, "
                        f"and may be by {allowed:.1e}"
                    )
                losses[provider.name], plans[provider.name] = loss, plan
                errors[provider.name] = error, allowed
        samples = time_losses(losses, x, y, pairs)
    return [
        LossRankTiming(
            provider=name,
            form=plans[name].form if name in plans else "covariance",
            backend=plans[name].backend if name in plans else "torch",
            dtype=str(dtype).removeprefix("torch."),
            device=device.type,
            n=n,
            d=d,
            world_size=world_size,
            seconds=found.of("forward+backward"),
            calls_per_sample=found.calls,
            pid=os.getpid(),
            gradient_error=errors[name][0] if name in errors else None,
            gradient_allowed=errors[name][1] if name in errors else None,
        )
        for name, found in samples.items()
    ]


def _ours(plan: LossPlan, ranks: Ranks, x: Tensor, y: Tensor) -> Tensor:
    value: LossValue = LossValue(
        *VICRegFunction.apply(x, y, Objective(preset=preset_named(OFFICIAL)), plan, ranks)
    )
    return value.loss


def _official(others: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The authors' loss on one rank: its own rows' invariance, and all rows' variance and covariance."""
    return official_loss(x, y, gathered=(torch.cat((x, others[0])), torch.cat((y, others[1]))))


def _true_gradients(x_ND: Tensor, y_ND: Tensor, n: int) -> tuple[list[Tensor], float]:
    """The oracle's gradients of the whole batch at the first n rows, and what an error may be."""
    doubles = [view.detach().double().requires_grad_() for view in (x_ND, y_ND)]
    loss = vicreg_reference(*doubles)
    assert isinstance(loss, Tensor)
    true = [gradient[:n].clone() for gradient in torch.autograd.grad(loss, doubles)]
    plain = torch.autograd.grad(official_loss(x_ND, y_ND), (x_ND, y_ND))
    return true, 2 * _error([gradient[:n] for gradient in plain], true, 1) + 1e-6


def _error(gradients: Sequence[Tensor], true: Sequence[Tensor], world_size: int) -> float:
    """Relative, in norm over both views, of what averaging over the ranks makes of a rank's gradient."""
    off = [float((g.double() / world_size - t).norm()) for g, t in zip(gradients, true, strict=True)]
    return math.hypot(*off) / math.hypot(*(float(t.norm()) for t in true))


@contextmanager
def _other_ranks(rows_WVnD: Tensor) -> Iterator[None]:
    """The collectives of rank 0 answered by the other ranks' rows, (W − 1, V, n, D): a gather of views gives
    them, any other collective this rank's own part over again."""
    with patch.object(exchange, "dist", _Exchange(rows_WVnD.contiguous().view(torch.uint8).flatten())):
        yield


class _Exchange:
    """In the place of torch.distributed."""

    def __init__(self, others: Tensor) -> None:
        self._others = others

    def all_gather_into_tensor(self, gathered: Tensor, mine: Tensor, group: Any = None) -> None:
        if gathered.numel() - mine.numel() == self._others.numel() and gathered.dtype == torch.uint8:
            gathered[: mine.numel()].copy_(mine)
            gathered[mine.numel() :].copy_(self._others)
            return
        gathered.view(-1, mine.numel()).copy_(mine.view(1, -1).expand(gathered.numel() // mine.numel(), -1))

    def all_reduce(self, tensor: Tensor, group: Any = None, async_op: bool = False) -> "_Done":
        return _Done()


class _Done:
    def wait(self) -> None:
        """Nothing was begun."""
