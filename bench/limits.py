"""The floor of a training step: its least work and bytes, at what the device reached in the same run. Imports
no torch.

    floor = max( model FLOPs ÷ FLOPs/s of matrix products,  least bytes ÷ bytes/s of copies )

No step of this recipe can take less on this device, by matrix products and convolutions done as such: an
algorithm with fewer multiplications (Winograd's, for one) could, and a cache can beat the memory where
everything fits into it. Model FLOPs utilisation (MFU) is model FLOPs a second over the products' ceiling, as
defined by Chowdhery et al., PaLM (arXiv:2204.02311), appendix B: recomputed or redundant work does not count.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bench.limits_record import StepWork
from bench.loss_record import Ceiling


@dataclass(frozen=True, kw_only=True)
class StepFloor:
    """The least time of a step, and what sets it."""

    seconds: float
    bound: Literal["compute", "memory"]


def best_ceiling(ceilings: Iterable[Ceiling], dtype: str, device: str) -> Ceiling | None:
    """The fastest product of that dtype and the fastest copy that were measured; None without a product.

    A ceiling measured while the machine did something else is too low, never too high: the highest counts.
    """
    there = [ceiling for ceiling in ceilings if ceiling.device == device]
    products = [ceiling for ceiling in there if ceiling.dtype == dtype]
    if not products:
        return None
    fastest = max(products, key=lambda ceiling: ceiling.flops_per_second)
    copied = max(there, key=lambda ceiling: ceiling.bytes_per_second)
    return fastest.model_copy(
        update={"bytes_per_second": copied.bytes_per_second, "copied_bytes": copied.copied_bytes}
    )


def step_floor(work: StepWork, ceiling: Ceiling) -> StepFloor:
    """Of a step with that work, at those ceilings."""
    compute = work.model_flops / ceiling.flops_per_second
    memory = work.least_bytes / ceiling.bytes_per_second
    return StepFloor(seconds=max(compute, memory), bound="compute" if compute >= memory else "memory")


def utilisation(work: StepWork, ceiling: Ceiling, step_seconds: float) -> float:
    """MFU of steps that take so long."""
    return work.model_flops / step_seconds / ceiling.flops_per_second
