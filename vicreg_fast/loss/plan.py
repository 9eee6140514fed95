"""Which form and backend computes the loss: a pure function of the shapes, decided by counted work.

A product of n×N by N×D costs 2·n·N·D floating-point operations. Per view, forward and backward, on a rank
that holds all of Z (N×D) and differentiates its own n rows:

    Gram form          2·n·N·D + 2·n·N·D    holds n×N
    covariance form    2·N·D²  + 2·n·D²     holds D×D

In one process (n = N) they cross at N = D, and so do the bytes held. Timed on a CPU at N = 1024 and D = 896,
1024, 1152, the covariance form took 0.86, 1.05 and 1.20 of the Gram form's time where the count says 0.88, 1
and 1.13: no factor is needed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from vicreg_fast.errors import UsageError
from vicreg_fast.loss.numerics import accumulation_dtype
from vicreg_fast.loss.presets import require_name

Form = Literal["gram", "covariance"]
Backend = Literal["torch", "triton"]

FORMS: tuple[Form, ...] = ("gram", "covariance")
BACKENDS: tuple[Backend, ...] = ("torch", "triton")

# (form, device type, dtype of the inputs) for which a Triton kernel is part of this package.
TRITON_KERNELS: frozenset[tuple[Form, str, torch.dtype]] = frozenset()

VIEWS = 2


@dataclass(frozen=True, kw_only=True)
class LossPlan:
    """How one loss is computed. FLOPs and bytes are one rank's, both views together."""

    form: Form
    backend: Backend
    flops_forward: int
    """Of the matrix products."""
    flops_backward: int
    product_bytes: int
    """The Gram or covariance matrices, of both views."""
    saved_bytes: int
    """Kept for the backward when both views need a gradient."""
    reason: str

    @property
    def flops(self) -> int:
        return self.flops_forward + self.flops_backward


@lru_cache(maxsize=256)
def plan_loss(
    n: int,
    N: int,
    D: int,
    dtype: torch.dtype,
    device_type: str,
    world_size: int = 1,
    form: str = "auto",
    backend: str = "auto",
) -> LossPlan:
    """The plan for n local of N global rows, D dimensions, inputs of `dtype` on a device of `device_type`.

    `form` is `auto`, `gram` or `covariance`; `backend` is `auto`, `torch` or `triton`. Raises UsageError for
    a name that is none of these and for a backend that has no kernel for the plan; ValueError for sizes that
    no loss can have.
    """
    require_name("form", form, ("auto", *FORMS))
    require_name("backend", backend, ("auto", *BACKENDS))
    if n < 1 or D < 1 or world_size < 1:
        raise ValueError(f"n = {n}, D = {D} and world_size = {world_size} must be positive")
    if N < 2:
        raise ValueError(f"N = {N}: a variance needs at least two rows")
    if n * world_size != N:
        raise ValueError(f"N = {N} is not world_size × n = {world_size} × {n}")
    if not dtype.is_floating_point:
        raise ValueError(f"{dtype} is not a floating dtype")

    counted = {"gram": _count_gram(n, N, D), "covariance": _count_covariance(n, N, D)}
    chosen: Form
    if form == "auto":
        chosen = "gram" if sum(counted["gram"]) < sum(counted["covariance"]) else "covariance"
        other = "covariance" if chosen == "gram" else "gram"
        factor = sum(counted[other]) / sum(counted[chosen])
        work = (
            f"{factor:.3g}× fewer operations than"
            if factor > 1
            else "no subtraction, and as many operations as"
        )
        reason = f"{chosen} form: {work} the {other} form at N = {N}, D = {D}"
    else:
        chosen = "gram" if form == "gram" else "covariance"
        reason = f"{chosen} form: asked for"

    has_kernel = (chosen, device_type, dtype) in TRITON_KERNELS
    if backend == "triton" and not has_kernel:
        raise UsageError(
            f"backend = 'triton': no kernel for the {chosen} form of {dtype} on {device_type}; "
            "use backend='torch'"
        )
    runs_on: Backend = "triton" if has_kernel and backend != "torch" else "torch"

    itemsize = accumulation_dtype(dtype).itemsize
    forward, backward = counted[chosen]
    return LossPlan(
        form=chosen,
        backend=runs_on,
        flops_forward=forward,
        flops_backward=backward,
        product_bytes=VIEWS * (n * N if chosen == "gram" else D * D) * itemsize,
        saved_bytes=VIEWS * n * D * itemsize,
        reason=reason,
    )


def _count_gram(n: int, N: int, D: int) -> tuple[int, int]:
    return VIEWS * 2 * n * N * D, VIEWS * 2 * n * N * D


def _count_covariance(n: int, N: int, D: int) -> tuple[int, int]:
    return VIEWS * 2 * N * D * D, VIEWS * 2 * n * D * D
