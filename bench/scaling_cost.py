"""What one step of the loss costs one rank: work, memory traffic, collectives. Counted from the code, not
timed.

Ours: the products' operations and the large collective are the plan's (`vicreg_fast.loss.plan`); what is
counted here is the passes over memory.

The authors' (facebookresearch/vicreg, main_vicreg.py, `VICReg.forward`, `off_diagonal`, `FullGatherLayer`):
every rank gathers each view by a collective of its own and computes the loss of the whole batch. Per view:

    products       2·N·D² forward, 4·N·D² backward (autograd multiplies by the symmetric dC twice)
    passes, D×D    9 forward: ÷(N−1) 2, off_diagonal's copy 2, the copy that pow_ keeps 2, pow_ 2, sum 1
                   14 backward: pow 2, ×2 2, ×upstream 2, two slices' zeros and copies 6, ÷(N−1) 2
    passes, N×D    22: mean 1, subtraction 2, var 1; of var's backward 5, sums of gradients 6, of the mean's 7
    passes, n×D    7: half of mse_loss's 2, of its backward's 6 and of the last sums' 6
    several ranks  N×D: 1 for zeros_like, 2 for cat, 2 for stack; W zeros and two more kernels
    collectives    an all-gather of n×D forward, an all-reduce of the W×n×D stack backward

A pass reads or writes every entry once. Everything is held and multiplied in the embeddings' dtype: the
authors train under float16 autocast, where the expander's last layer gives float16 embeddings, and neither
the subtraction, `var`, the product, the division nor the in-place `pow_` is widened (an entry beyond 65504
overflows there). What autocast does widen, mse_loss, is counted as if it were not.

What a collective writes as it receives, and what NCCL's wrapper copies, is counted for neither.

Legend: W = world size, n = local rows, N = W·n, D = embedding dimension.
"""

from dataclasses import dataclass

import torch

from vicreg_fast.loss.numerics import accumulation_dtype
from vicreg_fast.loss.plan import VIEWS, LossPlan, operand_dtype, plan_loss, product_dtype

OFFICIAL_KERNELS = 102
"""Of the authors' forward and backward in one process: operators that are no views, two kernels for each of
the four slices' gradients."""
OFFICIAL_SQUARE_PASSES = 23
OFFICIAL_GLOBAL_PASSES = 22
OFFICIAL_LOCAL_PASSES = 7
OFFICIAL_GATHER_PASSES = 5

KERNELS = {
    ("torch", "gram"): 56,
    ("torch", "covariance"): 50,
    ("triton", "gram"): 5,
    ("triton", "covariance"): 5,
}
"""Of our forward and backward in one process; with Triton three forward, one backward, and the zeros of the
products' partial sums.
"""
RANKED_KERNELS = 8
"""More of ours where there are several ranks: packing both views, and the shares of the terms."""


@dataclass(frozen=True, kw_only=True)
class Collective:
    """One collective, as a ring runs it, or a sum of a few scalars."""

    name: str
    received_bytes: int
    """By this rank, all its steps together."""
    steps: int
    """That follow one another, each with one latency."""


@dataclass(frozen=True, kw_only=True)
class LossCost:
    """Of one rank, one step, forward and backward, both views."""

    form: str
    backend: str
    exchange: str
    flops: dict[str, int]
    """Of the products, by the matmul rate they run at (`bench.gpu_rates.RATES`)."""
    product_bytes: int
    """Read and written by the products."""
    elementwise_bytes: int
    """Read and written by everything else."""
    kernels: int
    collectives: tuple[Collective, ...]
    peak_bytes: int


def our_plan(
    n: int, D: int, W: int, dtype: torch.dtype, *, form: str = "auto", backend: str = "auto"
) -> LossPlan:
    """The plan on CUDA of a rank of W. `backend="triton"` means Triton wherever it has the kernel: a D×D sum
    over ranks is torch's.
    """
    plan = plan_loss(n, n * W, D, dtype, "cuda", W, form, "auto" if backend == "triton" else backend)
    if backend == "triton" and plan.exchange != "reduce":
        plan = plan_loss(n, n * W, D, dtype, "cuda", W, form, "triton")
    return plan


def our_cost(plan: LossPlan, n: int, D: int, W: int, dtype: torch.dtype, *, tf32: bool = False) -> LossCost:
    """What `plan` costs, for n local rows of D dimensions in `dtype` on each of W ranks."""
    held = operand_dtype(dtype, plan.backend)
    stored = product_dtype(dtype, plan.backend)
    forward_rate = matmul_rate(held, tf32=tf32)
    # A product of two dtypes runs in the wider one, rounded to TF32.
    backward_rate = forward_rate if stored == held else "tf32"
    flops = {forward_rate: plan.flops_forward}
    flops[backward_rate] = flops.get(backward_rate, 0) + plan.flops_backward
    rows = n if plan.exchange == "reduce" else n * W
    passes = _triton_bytes if plan.backend == "triton" else _torch_bytes
    return LossCost(
        form=plan.form,
        backend=plan.backend,
        exchange=plan.exchange,
        flops=flops,
        product_bytes=_product_bytes(plan, n, rows, D, held, dtype),
        elementwise_bytes=passes(plan, n, rows, D, dtype)
        + (VIEWS * 2 * n * D * dtype.itemsize if W > 1 else 0),
        kernels=KERNELS[plan.backend, plan.form] + (RANKED_KERNELS if W > 1 else 0),
        collectives=_our_collectives(plan, D, W, dtype),
        peak_bytes=_our_peak_bytes(plan, n, rows, D, W, dtype),
    )


def official_cost(n: int, D: int, W: int, dtype: torch.dtype, *, tf32: bool = False) -> LossCost:
    """What the authors' code costs, for n local rows of D dimensions in `dtype` on each of W ranks."""
    N, size = n * W, dtype.itemsize
    passes = OFFICIAL_SQUARE_PASSES * D * D + OFFICIAL_GLOBAL_PASSES * N * D + OFFICIAL_LOCAL_PASSES * n * D
    kernels = OFFICIAL_KERNELS
    if W > 1:
        passes += OFFICIAL_GATHER_PASSES * N * D
        kernels += VIEWS * (W + 2)
    gathered = (W - 1) * n * D * size
    gathers = (Collective(name="all-gather", received_bytes=gathered, steps=W - 1),) * VIEWS
    sums = (Collective(name="all-reduce", received_bytes=2 * gathered, steps=2 * (W - 1)),) * VIEWS
    return LossCost(
        form="covariance",
        backend="torch",
        exchange="gather" if W > 1 else "none",
        flops={matmul_rate(dtype, tf32=tf32): VIEWS * 6 * N * D * D},
        product_bytes=VIEWS * (3 * D * D + 6 * N * D) * size,
        elementwise_bytes=VIEWS * passes * size,
        kernels=kernels,
        collectives=gathers + sums if W > 1 else (),
        peak_bytes=max(5 * D * D + 3 * N * D, 6 * N * D) * size,
    )


def matmul_rate(dtype: torch.dtype, *, tf32: bool) -> str:
    """Which of `bench.gpu_rates.RATES` a product of factors of `dtype` runs at."""
    return "tf32" if tf32 and dtype == torch.float32 else str(dtype).removeprefix("torch.")


def _entries(plan: LossPlan, n: int, rows: int, D: int) -> int:
    return n * rows if plan.form == "gram" else D * D


def _product_bytes(plan: LossPlan, n: int, rows: int, D: int, held: torch.dtype, dtype: torch.dtype) -> int:
    """Each factor read once, each product written once; the gradient that the last one is added to, read and
    written, or written alone by Triton, whose epilogue adds.
    """
    product = VIEWS * _entries(plan, n, rows, D) * product_dtype(dtype, plan.backend).itemsize
    if plan.form == "gram":
        factors = VIEWS * ((n + rows) + rows) * D * held.itemsize
    else:
        factors = VIEWS * (2 * rows + n) * D * held.itemsize
    gradient = n * D * (dtype.itemsize if plan.backend == "triton" else 2 * held.itemsize)
    return 2 * product + factors + VIEWS * gradient


def _torch_bytes(plan: LossPlan, n: int, rows: int, D: int, dtype: torch.dtype) -> int:
    """Passes of `closed_form.py` and what it calls. Over a view's rows: read, written as a difference, mean,
    subtraction, square, sum. Over its local rows: the invariance and its gradient, the columns' coefficients,
    the scaled gradient in the inputs' dtype. Over the product: its norm.
    """
    size, wide = dtype.itemsize, accumulation_dtype(dtype).itemsize
    centring = rows * D * (size + 7 * wide)
    if plan.exchange == "reduce":  # moved by the mean of all ranks
        centring += 2 * rows * D * wide
    invariance = n * D * (2 * size + 6 * wide + (2 * wide if size != wide else 0))
    gradient = n * D * (3 * wide + wide + size)
    return VIEWS * (centring + gradient + _entries(plan, n, rows, D) * wide) + invariance


def _triton_bytes(plan: LossPlan, n: int, rows: int, D: int, dtype: torch.dtype) -> int:
    """The centring kernel reads both views twice and writes them once; the gradient's epilogue reads the
    centred view and both views' rows.
    """
    return VIEWS * (3 * rows * D + 3 * n * D) * dtype.itemsize


def _our_collectives(plan: LossPlan, D: int, W: int, dtype: torch.dtype) -> tuple[Collective, ...]:
    if W == 1:
        return ()
    scalars = Collective(name="scalar all-reduce", received_bytes=0, steps=(W - 1).bit_length())
    if plan.exchange == "gather":
        return Collective(name="all-gather", received_bytes=plan.exchange_bytes, steps=W - 1), scalars
    # Three rows a view, with which every rank joins the means and variances (`centring.centred_rows`).
    moments = (W - 1) * 3 * VIEWS * D * accumulation_dtype(dtype).itemsize
    return (
        Collective(name="all-gather", received_bytes=moments, steps=W - 1),
        Collective(name="all-reduce", received_bytes=plan.exchange_bytes, steps=2 * (W - 1)),
        scalars,
    )


def _our_peak_bytes(plan: LossPlan, n: int, rows: int, D: int, W: int, dtype: torch.dtype) -> int:
    """torch: the centred views, and beside them their squares, or, later and of the local rows, the gradient,
    with the product. Triton: the centred views, the product and the gradient. Gathered views stay until the
    forward ends.
    """
    gathered = VIEWS * rows * D * dtype.itemsize if plan.exchange == "gather" else 0
    if plan.backend == "triton":
        return gathered + VIEWS * (rows + n) * D * dtype.itemsize + plan.product_bytes
    wide = VIEWS * D * accumulation_dtype(dtype).itemsize
    return gathered + wide * rows + max(wide * rows, wide * n + plan.product_bytes)
