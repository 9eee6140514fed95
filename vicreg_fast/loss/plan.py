"""Which form, exchange and backend compute the loss: a pure function of the shapes, decided by counted work.

A product of n×N by N×D costs 2·n·N·D floating-point operations. Per view, forward and backward, on a rank
that differentiates its own n of N rows:

    form, exchange       operations             holds    receives, in one step
    gram, gather         2·n·N·D + 2·n·N·D      n×N      (N−n)·D embeddings
    covariance, gather   2·N·D²  + 2·n·D²       D×D      (N−n)·D embeddings
    covariance, reduce   2·n·D²  + 2·n·D²       D×D      2·(W−1)/W·D² sums

In one process (n = N) the forms cross at N = D, and so do the bytes held. Timed on a CPU at N = 1024 and D =
896, 1024, 1152, the covariance form took 0.86, 1.05 and 1.20 of the Gram form's time where the count says
0.88, 1 and 1.13: no factor is needed. The covariance form gathers the rows, or sums the D×D matrix, whichever
receives fewer bytes; then the form with fewer operations is taken.

Operations are counted as dense products. A Triton product of one process makes the lower triangle only: about
half of the forward's.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from vicreg_fast.errors import UsageError
from vicreg_fast.loss.numerics import accumulation_dtype
from vicreg_fast.loss.presets import require_name
from vicreg_fast.loss.triton_support import (
    MEASURED_TO_WIN,
    TRITON_DTYPES,
    triton_obstacle,
)

Form = Literal["gram", "covariance"]
Backend = Literal["torch", "triton"]
Exchange = Literal["none", "gather", "reduce"]

FORMS: tuple[Form, ...] = ("gram", "covariance")
BACKENDS: tuple[Backend, ...] = ("torch", "triton")

VIEWS = 2


@dataclass(frozen=True, kw_only=True)
class LossPlan:
    """How one loss is computed. FLOPs and bytes are one rank's, both views together."""

    form: Form
    backend: Backend
    exchange: Exchange
    """What ranks share: nothing, their embeddings, or the sum of their D×D products."""
    flops_forward: int
    """Of the matrix products, as dense ones."""
    flops_backward: int
    product_bytes: int
    """The Gram or covariance matrices, of both views."""
    saved_bytes: int
    """Kept for the backward when both views need a gradient, beside the inputs themselves."""
    exchange_bytes: int
    """Received by this rank in the large collective of a step."""
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
    a name that is none of these and for a backend that cannot run the plan; ValueError for sizes that no loss
    can have.
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

    received = _bytes_received(n, N, D, dtype, world_size)
    exchanges: dict[str, Exchange] = {"gram": "none", "covariance": "none"}
    if world_size > 1:
        exchanges["gram"] = "gather"
        # at a tie, as at n = 256, D = 8192 and 128 ranks, a sum is of fewer operations
        exchanges["covariance"] = "reduce" if received["reduce"] <= received["gather"] else "gather"
    counted = {
        "gram": (VIEWS * 2 * n * N * D, VIEWS * 2 * n * N * D),
        "covariance": _count_covariance(n, N, D, exchanges["covariance"]),
    }
    chosen, reason = _choose_form(form, counted, N, D)
    runs_on = _choose_backend(backend, chosen, exchanges[chosen], dtype, device_type)
    forward, backward = counted[chosen]
    return LossPlan(
        form=chosen,
        backend=runs_on,
        exchange=exchanges[chosen],
        flops_forward=forward,
        flops_backward=backward,
        product_bytes=VIEWS * _product_entries(chosen, n, N, D) * product_dtype(dtype, runs_on).itemsize,
        saved_bytes=_saved_bytes(chosen, runs_on, n, N, D, dtype),
        exchange_bytes=received[exchanges[chosen]],
        reason=reason,
    )


def operand_dtype(dtype: torch.dtype, backend: Backend) -> torch.dtype:
    """What centred embeddings are held and multiplied in: the inputs' dtype in a Triton kernel, the
    accumulation dtype elsewhere.
    """
    return dtype if backend == "triton" else accumulation_dtype(dtype)


def product_dtype(dtype: torch.dtype, backend: Backend) -> torch.dtype:
    """What a Gram or covariance matrix is held in: never float16, whose range its entries leave."""
    return torch.bfloat16 if (backend, dtype) == ("triton", torch.bfloat16) else accumulation_dtype(dtype)


def _choose_form(form: str, counted: dict[str, tuple[int, int]], N: int, D: int) -> tuple[Form, str]:
    if form != "auto":
        forced: Form = "gram" if form == "gram" else "covariance"
        return forced, f"{forced} form: asked for"
    chosen: Form = "gram" if sum(counted["gram"]) < sum(counted["covariance"]) else "covariance"
    other = "covariance" if chosen == "gram" else "gram"
    factor = sum(counted[other]) / sum(counted[chosen])
    work = (
        f"{factor:.3g}× fewer operations than" if factor > 1 else "no subtraction, and as many operations as"
    )
    return chosen, f"{chosen} form: {work} the {other} form at N = {N}, D = {D}"


def _choose_backend(
    backend: str, form: Form, exchange: Exchange, dtype: torch.dtype, device_type: str
) -> Backend:
    if backend == "triton":
        obstacle = triton_obstacle(device_type)
        if obstacle is None and dtype not in TRITON_DTYPES:
            obstacle = f"its kernels take float32, float16 and bfloat16, not {dtype}"
        if obstacle is None and exchange == "reduce":
            obstacle = "it has no kernel for a D×D sum over ranks"
        if obstacle is not None:
            raise UsageError(f"backend = 'triton': {obstacle}; use backend='torch'")
        return "triton"
    if (
        backend == "auto"
        and (form, device_type, dtype) in MEASURED_TO_WIN
        and exchange != "reduce"
        and triton_obstacle(device_type) is None
    ):
        return "triton"
    return "torch"


def _bytes_received(n: int, N: int, D: int, dtype: torch.dtype, world_size: int) -> dict[Exchange, int]:
    sums = 2 * (world_size - 1) * D * D * accumulation_dtype(dtype).itemsize // world_size
    return {"none": 0, "gather": VIEWS * (N - n) * D * dtype.itemsize, "reduce": VIEWS * sums}


def _count_covariance(n: int, N: int, D: int, exchange: Exchange) -> tuple[int, int]:
    rows = n if exchange == "reduce" else N
    return VIEWS * 2 * rows * D * D, VIEWS * 2 * n * D * D


def _product_entries(form: Form, n: int, N: int, D: int) -> int:
    return n * N if form == "gram" else D * D


def _saved_bytes(form: Form, backend: Backend, n: int, N: int, D: int, dtype: torch.dtype) -> int:
    if backend == "torch":  # the gradient itself
        return VIEWS * n * D * accumulation_dtype(dtype).itemsize
    centred = VIEWS * N * D * operand_dtype(dtype, backend).itemsize
    products = VIEWS * _product_entries(form, n, N, D) * product_dtype(dtype, backend).itemsize
    columns = VIEWS * D * torch.float32.itemsize
    return centred + products + columns
