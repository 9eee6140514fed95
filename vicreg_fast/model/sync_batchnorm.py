"""BatchNorm over the rows of every rank; on a CPU by a module of ours, because torch's refuses its tensors.

Statistics are exchanged as means and centred second moments, never as E[x²] − E[x]², which cancels:

    μ = mean_r μ_r,   σ² = mean_r ( σ_r² + (μ_r − μ)² )            for ranks r of as many rows each

With x̂ = (x − μ)/√(σ² + ε), y = γ x̂ + β, and sums over the rows of all ranks, N of them,

    ∂x = γ/√(σ² + ε) · ( ∂y − Σ∂y/N − x̂ · Σ(∂y x̂)/N ),   ∂γ = Σ ∂y x̂ and ∂β = Σ ∂y over this rank's rows

so that forward and backward are one collective of two numbers a channel each. DistributedDataParallel adds
up ∂γ and ∂β as it does every other gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from vicreg_fast.distributed import Ranks, sum_over_ranks
from vicreg_fast.distributed.exchange import gather_over_ranks


def convert_sync_batchnorm(network: nn.Module, ranks: Ranks) -> nn.Module:
    """`network` with every BatchNorm normalising over the rows of all `ranks`, of which each brings as many.

    Parameters, buffers and their names stay as they are. On a CPU the module is ours, elsewhere torch's
    SyncBatchNorm; for one process nothing changes. In eval mode nothing is exchanged. The network is changed
    in place, and returned because it may be a BatchNorm itself.
    """
    if ranks.group is None:
        return network
    if next(network.parameters()).device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network, ranks.group)
        return converted
    return _converted(network, ranks)


def _converted(module: nn.Module, ranks: Ranks) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return RanksBatchNorm(module, ranks)
    for name, child in module.named_children():
        setattr(module, name, _converted(child, ranks))
    return module


class RanksBatchNorm(_BatchNorm):
    """(n, C, *) → (n, C, *), any memory format: the BatchNorm it is made of, with its very tensors, over the
    W·n rows of all ranks."""

    def __init__(self, local: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(
            local.num_features, local.eps, local.momentum, local.affine, local.track_running_stats
        )
        self.ranks = ranks
        self.weight, self.bias = local.weight, local.bias
        self.running_mean, self.running_var = local.running_mean, local.running_var
        self.num_batches_tracked = local.num_batches_tracked
        self.train(local.training)
        # A compiled network's graph is cut here, and the collectives stay as they are. Not a decorator: it
        # would import torch's compiler with this module.
        self._normalised = torch.compiler.disable(_Normalised.apply)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (n, C, ...), got {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        y, mean, var = self._normalised(x, self.weight, self.bias, self.eps, self.ranks)
        if self.track_running_stats:
            self._track(mean, var, rows=self.ranks.world_size * x.numel() // x.size(1))
        normalised: Tensor = y.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor, *, rows: int) -> None:
        """As torch: the running variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_((var_C * (rows / (rows - 1))).to(self.running_var.dtype), share)


class _Normalised(torch.autograd.Function):
    """x (n, C, *), weight and bias (C) or None → y as x, and the global mean and biased variance (C)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = [axis for axis in range(x.dim()) if axis != 1]
        var_C, mean_C = torch.var_mean(x, rows, correction=0)
        var_WC, mean_WC = gather_over_ranks(torch.stack((var_C, mean_C)), ranks).unbind(1)
        mean_C = mean_WC.mean(0)
        var_C = (var_WC + (mean_WC - mean_C).square()).mean(0)
        scale_C = torch.rsqrt(var_C + eps)
        shape = (-1, *(1 for _ in rows[1:]))
        # Not x̂, which is the output of a layer without γ, and which a ReLU may then change in place.
        ctx.save_for_backward(x, mean_C, scale_C, weight)
        ctx.ranks, ctx.rows, ctx.shape, ctx.with_bias = ranks, rows, shape, bias is not None
        ctx.mark_non_differentiable(mean_C, var_C)
        y = (x - mean_C.view(shape)) * scale_C.view(shape)
        y = y if weight is None else y * weight.view(shape)
        y = y if bias is None else y + bias.view(shape)
        return y, mean_C, var_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean_C, scale_C, weight = ctx.saved_tensors
        dy, shape = gradients[0], ctx.shape
        normal = (x - mean_C.view(shape)) * scale_C.view(shape)
        local_2C = torch.stack((dy.sum(ctx.rows), (dy * normal).sum(ctx.rows)))
        global_2C = local_2C.clone()
        sum_over_ranks(global_2C, ctx.ranks)
        global_2C /= ctx.ranks.world_size * normal.numel() // normal.size(1)
        if weight is not None:
            scale_C = scale_C * weight
        dx = scale_C.view(shape) * (dy - global_2C[0].view(shape) - normal * global_2C[1].view(shape))
        return (
            dx,
            local_2C[1] if weight is not None else None,
            local_2C[0] if ctx.with_bias else None,
            None,
            None,
        )
