"""One step of training, on a rank of several and on the whole batch in one process.

Every process makes the whole batch from its seed and takes its own rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.reference import vicreg_reference

FEATURES = 7


@dataclass(frozen=True, kw_only=True)
class Case:
    """One batch and one way to compute its loss. A tensor's numbers depend on nothing else."""

    n: int
    """Rows of each rank."""
    D: int
    form: str = "auto"
    backend: str = "auto"
    preset: str = "official"
    dtype: str = "float64"
    means: str = "near"
    """`near` zero, `far` from it (1e3), or far from each other, `apart`, on different ranks."""
    views: str = "both"
    """Those that need a gradient: `both`, `first` or `second`."""
    upstream: float = 1.0

    def __str__(self) -> str:
        told = [f"{self.n}x{self.D}"]
        for name, usual in _USUAL.items():
            value = getattr(self, name)
            if value != usual:
                told.append(f"{name}={value}" if name == "upstream" else str(value))
        return "-".join(told)

    @property
    def torch_dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def options(self) -> dict[str, str]:
        return {"form": self.form, "backend": self.backend, "preset": self.preset}


_USUAL = {name: field.default for name, field in Case.__dataclass_fields__.items() if name not in ("n", "D")}


def images_of(case: Case, W: int) -> tuple[Tensor, Tensor]:
    """Two views (W·n, FEATURES) of the whole batch, before the network."""
    return _pair(case, W, FEATURES)


def embeddings_of(case: Case, W: int) -> tuple[Tensor, Tensor]:
    """Two views (W·n, D) of the whole batch, leaves that need a gradient."""
    x, y = _pair(case, W, case.D)
    return x.requires_grad_(), y.requires_grad_()


def _pair(case: Case, W: int, columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(17)
    x, noise = torch.randn(2, W * case.n, columns, generator=generator, dtype=torch.float64)
    y = x + 0.3 * noise
    if case.means == "far":
        x, y = x + 1e3, y - 1e3
    if case.means == "apart":
        level_N1 = torch.arange(W, dtype=torch.float64).repeat_interleave(case.n).unsqueeze(1)
        x, y = x + 10 * level_N1, y - 20 * level_N1
    return x.to(case.torch_dtype), y.to(case.torch_dtype)


class TwoViews(nn.Module):
    """A network small enough for a test: an expander of one hidden layer."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(23)
        self.case = case
        self.expander = nn.Sequential(nn.Linear(FEATURES, 11), nn.Tanh(), nn.Linear(11, case.D))
        self.to(case.torch_dtype)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.expander(a), self.expander(b)
        if self.case.views == "both":
            return x, y
        return (x, y.detach()) if self.case.views == "first" else (x.detach(), y)


def ddp_step(case: Case) -> dict[str, Any]:
    """On a rank: the loss, its terms, and the parameters' gradient after DDP has averaged it."""
    rank, W = dist.get_rank(), dist.get_world_size()
    rows = slice(rank * case.n, (rank + 1) * case.n)
    model = DistributedDataParallel(TwoViews(case))
    a, b = images_of(case, W)
    loss, terms = vicreg_loss(*model(a[rows], b[rows]), return_terms=True, **case.options)
    (case.upstream * loss).backward()
    return {
        "loss": loss.item(),
        "terms": {name: value.item() for name, value in terms._asdict().items()},
        "gradient": flat_gradient(model).numpy(),
    }


def whole_step(case: Case, W: int) -> dict[str, Any]:
    """The same of the whole batch in one process, by the oracle; the terms that it has not are our own."""
    model = TwoViews(case)
    x, y = model(*images_of(case, W))
    loss, terms = vicreg_reference(x, y, preset=case.preset, return_terms=True)
    (case.upstream * loss).backward()
    ours = vicreg_loss(x.detach(), y.detach(), preset=case.preset, return_terms=True)[1]
    return {
        "loss": loss.item(),
        "terms": {name: value.item() for name, value in (ours._asdict() | terms).items()},
        "gradient": flat_gradient(model).numpy(),
    }


def flat_gradient(model: nn.Module) -> Tensor:
    gradients = [parameter.grad for parameter in model.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def embedding_step(case: Case) -> tuple[float, "np.ndarray[Any, Any]"]:
    """On a rank: the loss, and this rank's rows of both views' gradient (2, n, D), as float64."""
    rank, W = dist.get_rank(), dist.get_world_size()
    rows = slice(rank * case.n, (rank + 1) * case.n)
    x, y = embeddings_of(case, W)
    loss = vicreg_loss(x[rows], y[rows], **case.options)
    loss.backward()
    assert x.grad is not None
    assert y.grad is not None
    return loss.item(), torch.stack([x.grad[rows], y.grad[rows]]).double().numpy() / W
