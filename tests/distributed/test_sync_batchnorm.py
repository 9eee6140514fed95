"""BatchNorm over ranks is BatchNorm of the whole batch: outputs, gradients, running statistics."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.distributed.worlds import World
from vicreg_fast.distributed import SINGLE, ranks_of
from vicreg_fast.model import convert_sync_batchnorm

ROWS = 3
"""Of each rank."""


def small_network(**options: Any) -> nn.Sequential:
    """A trunk and an expander's layer, in float64, channels last: BatchNorm of (n, C, H, W) and of (n, C)."""
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, **options),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 6),
        nn.Sequential(nn.BatchNorm1d(6, **options)),
    )
    for layer in (network[1], network[6][0]):
        if layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias)
    return network.to(torch.float64, memory_format=torch.channels_last)


def images(W: int) -> Tensor:
    """The ranks' levels are far apart, so that statistics of one rank would be far off."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(W * ROWS, 3, 6, 5, generator=generator, dtype=torch.float64)
    x += 10 * torch.arange(W).repeat_interleave(ROWS).view(-1, 1, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def two_steps(network: nn.Module, x: Tensor, rows: slice) -> dict[str, Any]:
    x = x[rows].clone(memory_format=torch.preserve_format).requires_grad_()
    for power in (2, 3):  # running statistics of two batches, gradients added up
        y = network(x * power)
        (y**power).sum().backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    network.eval()
    found = {
        "y": y.detach().numpy(),
        "evaluated": network(x).detach().numpy(),
        "state": {name: value.numpy() for name, value in network.state_dict().items()},
        "gradients": gradients,
    }
    assert x.grad is not None
    return found | {"dx": x.grad.numpy()}


def on_ranks(options: dict[str, Any]) -> dict[str, Any]:
    ranks = ranks_of()
    network = small_network(**options)
    before = dict(network.named_parameters())
    network = convert_sync_batchnorm(network, ranks)
    assert all(parameter is before[name] for name, parameter in network.named_parameters())
    return two_steps(network, images(ranks.world_size), ranks.rows(ROWS))


@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_a_world_is_one_process_with_the_whole_batch(options: dict[str, Any], world: World) -> None:
    found = world.run(on_ranks, options)
    W = world.size
    wanted = two_steps(small_network(**options), images(W), slice(None))
    for name in ("y", "dx", "evaluated"):
        if name == "evaluated" and not options.get("track_running_stats", True):
            continue  # each rank by the statistics of its own rows, as torch
        np.testing.assert_allclose(np.concatenate([rank[name] for rank in found]), wanted[name], 1e-12, 1e-12)
    for name, value in wanted["gradients"].items():
        total = sum(rank["gradients"][name] for rank in found)
        scale = np.abs(value).max()
        np.testing.assert_allclose(total, value, 1e-12, 1e-12 * max(1, scale), err_msg=name)
    for rank in found:
        assert rank["state"].keys() == wanted["state"].keys()
        for name, value in wanted["state"].items():
            np.testing.assert_allclose(rank["state"][name], value, 1e-12, 1e-12, err_msg=name)
            np.testing.assert_array_equal(rank["state"][name], found[0]["state"][name])


def far_from_zero(dtype: str) -> tuple[float, str]:
    """The largest error of a batch whose mean is 1e4 times its standard deviation, and the output's dtype."""
    ranks = ranks_of()
    generator = torch.Generator().manual_seed(3)
    whole = (100 + 0.01 * torch.randn(ranks.world_size * 512, 2, generator=generator)).to(
        getattr(torch, dtype)
    )
    layer = convert_sync_batchnorm(nn.BatchNorm1d(2, eps=1e-12), ranks)
    y = layer(whole[ranks.rows(512)])
    x = whole.double()
    wanted = (x - x.mean(0)) / x.var(0, correction=0).add(1e-12).sqrt()
    return (y - wanted[ranks.rows(512)]).abs().max().item(), str(y.dtype)


def test_statistics_far_from_zero_do_not_cancel(pair: World) -> None:
    for error, dtype in pair.run(far_from_zero, "float32"):
        assert error < 5e-3  # E[x²] − E[x]² in float32 has no correct digit of this variance
        assert dtype == "torch.float32"
    for _, dtype in pair.run(far_from_zero, "bfloat16"):
        assert dtype == "torch.bfloat16"


def collectives_of_one_step() -> list[str]:
    layer = convert_sync_batchnorm(nn.BatchNorm1d(4), ranks_of())
    x = torch.randn(3, 4, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x).square().sum().backward()
    dist.barrier()
    return sorted(event.name for event in profile.events() if event.name.startswith("gloo:"))


def test_forward_and_backward_are_one_collective_each(pair: World) -> None:
    for names in pair.run(collectives_of_one_step):
        assert names == ["gloo:all_gather", "gloo:all_reduce"]


def compiled() -> dict[str, Any]:
    ranks = ranks_of()
    network = torch.compile(convert_sync_batchnorm(small_network(), ranks), backend="eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The .grad attribute", category=UserWarning)  # Dynamo's own
        return two_steps(network, images(ranks.world_size), ranks.rows(ROWS))


def test_a_compiled_network_is_the_same(pair: World) -> None:
    for eager, found in zip(pair.run(on_ranks, {}), pair.run(compiled), strict=True):
        np.testing.assert_array_equal(found["y"], eager["y"])
        np.testing.assert_array_equal(found["dx"], eager["dx"])


def test_one_process_keeps_its_network() -> None:
    network = small_network()
    modules = list(network.modules())
    assert convert_sync_batchnorm(network, SINGLE) is network
    assert list(network.modules()) == modules
