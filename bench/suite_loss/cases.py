"""The cases: what of the loss is counted and timed, by name.

`case_names` and `timed_names` are also called in the copy of this file that an older revision has: what they
return is how a case that was renamed or taken out is noticed. They and `Case.name` keep their meaning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.suite_loss.naive import naive_covariance_loss, naive_gram_loss

Loss = Callable[[Tensor, Tensor], Any]
"""Two views, each (N, D), to a 0-d tensor that autograd differentiates."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to call the loss, forward and backward, on views (n, d)."""

    form: str
    """`gram`, `covariance`, or `auto`, which pays for the plan's choice too."""
    n: int
    d: int
    dtype: str = "float32"
    backend: str = "torch"
    """`triton` and `graphed` need CUDA."""
    timed: bool = False
    """Whether a run times it unless told otherwise; every case is counted."""

    @property
    def name(self) -> str:
        backend = "" if self.backend == "torch" else f"-{self.backend}"
        return f"{self.form}{backend}-{self.n}x{self.d}-{self.dtype}"

    @property
    def naive(self) -> Loss:
        """The frozen loss of the form that this case takes, and so of about its cost."""
        through_gram = self.form == "gram" or (self.form == "auto" and self.n < self.d)
        return naive_gram_loss if through_gram else naive_covariance_loss

    def build(self, device: torch.device) -> Loss:
        """Our loss for views like these, of the checkout that `vicreg_fast` is imported from. Raises what
        that checkout raises where it has no such loss."""
        from vicreg_fast import loss

        if self.backend == "graphed":
            return loss.graphed((self.n, self.d), getattr(torch, self.dtype), device=device, form=self.form)
        backend = "auto" if self.form == "auto" else self.backend
        return loss.VICRegLoss(form=self.form, backend=backend)

    def views(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Two views (n, d), leaves that require a gradient: half of the dimensions inside the variance hinge,
        none at its edge."""
        generator = torch.Generator().manual_seed(0)
        common, *own = (torch.randn(self.n, self.d, generator=generator) for _ in range(3))
        scale_D = torch.where(torch.arange(self.d) % 2 == 0, 0.6, 1.6)
        dtype = getattr(torch, self.dtype)
        x, y = ((scale_D * (common + 0.3 * noise)).to(device, dtype).requires_grad_() for noise in own)
        return x, y


CPU_CASES = (
    # Of a few milliseconds each: many short neighbours say more on a busy machine than few long ones.
    Case(form="gram", n=128, d=1024, timed=True),
    Case(form="covariance", n=512, d=128, timed=True),
    Case(form="auto", n=32, d=512, timed=True),
    Case(form="gram", n=128, d=1024, dtype="bfloat16"),
    Case(form="auto", n=256, d=8192),
)
CUDA_CASES = (
    Case(form="gram", n=256, d=8192, timed=True),
    Case(form="gram", n=256, d=8192, dtype="bfloat16", backend="triton", timed=True),
    Case(form="covariance", n=4096, d=1024, timed=True),
    Case(form="covariance", n=4096, d=1024, dtype="bfloat16", backend="triton", timed=True),
    Case(form="auto", n=256, d=8192, dtype="bfloat16", timed=True),
    Case(form="auto", n=256, d=8192, dtype="bfloat16", backend="graphed", timed=True),
    Case(form="gram", n=2048, d=8192, dtype="bfloat16", backend="triton"),
)


def cases(device_type: str) -> dict[str, Case]:
    """The cases of a device, by name."""
    return {case.name: case for case in (CUDA_CASES if device_type == "cuda" else CPU_CASES)}


def case_names(device_type: str) -> tuple[str, ...]:
    return tuple(cases(device_type))


def timed_names(device_type: str) -> tuple[str, ...]:
    return tuple(name for name, case in cases(device_type).items() if case.timed)
