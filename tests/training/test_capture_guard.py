"""The guard fails where it must, says where, and lets through what a CUDA graph can hold."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vicreg_fast.training.capture_guard import HostSyncError, forbid_host_sync, imagined_cuda

CUDA = torch.device("cuda", 0)


def _ones(*shape: int) -> Tensor:
    return torch.ones(shape, device=CUDA)


def _mask() -> Tensor:
    return torch.ones(4, dtype=torch.bool, device=CUDA)


def _indices() -> Tensor:
    return torch.zeros(4, dtype=torch.int64, device=CUDA)


FORBIDDEN: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "item": (lambda x: x[0, 0].item(), "reads a value"),
    "float": (lambda x: float(x[0, 0]), "reads a value"),
    "int": (lambda x: int(x[0, 0]), "reads a value"),
    "bool": (lambda x: bool(x[0, 0]), "reads a value"),
    "branch": (lambda x: 1 if x.sum() > 0 else 2, "reads a value"),
    "all": (lambda x: not (x > 0).all(), "reads a value"),
    "is_nonzero": (lambda x: torch.is_nonzero(x[0, 0]), "reads a value"),
    "equal": (lambda x: torch.equal(x, x), "reads a value"),
    "allclose": (lambda x: torch.allclose(x, x), "reads a value"),
    "tolist": (lambda x: x.tolist(), "reads a value"),
    "numpy": (lambda x: x.detach().numpy(), "reads a value"),
    "a slice by a tensor": (lambda x: x[: _indices()[0]], "reads a value"),
    "nonzero": (lambda x: x.nonzero(), "shape that depends on data"),
    "where of a condition alone": (lambda x: torch.where(x > 0), "shape that depends on data"),
    "argwhere": (lambda x: torch.argwhere(x), "shape that depends on data"),
    "masked_select": (lambda x: torch.masked_select(x, _mask()[:, None]), "shape that depends on data"),
    "unique": (lambda x: torch.unique(x), "shape that depends on data"),
    "unique along a dimension": (lambda x: torch.unique(x, dim=0), "shape that depends on data"),
    "unique_consecutive": (lambda x: torch.unique_consecutive(x), "shape that depends on data"),
    "a boolean index": (lambda x: x[_mask()], "a boolean index"),
    "a boolean index that is written": (lambda x: x.detach().__setitem__(_mask(), x), "a boolean index"),
    "index_put by a mask": (lambda x: x.index_put((_mask(),), _ones(5)), "a boolean index"),
    "repeat_interleave": (
        lambda x: torch.repeat_interleave(x, _indices(), dim=0),
        "shape that depends on data",
    ),
    "bincount": (lambda _: torch.bincount(_indices()), "shape that depends on data"),
    "cpu": (lambda x: x.cpu(), "copies from cuda to cpu"),
    "to": (lambda x: x.to("cpu", non_blocking=True), "copies from cuda to cpu"),
    "to, with a dtype": (lambda x: x.to("cpu", torch.float64), "copies from cuda to cpu"),
    "copy_ to the host": (lambda x: torch.empty(4, 5).copy_(x), "copies from cuda to cpu"),
    "copy_ to the device": (lambda x: x.detach().copy_(torch.empty(4, 5)), "copies from cpu to cuda"),
    "pageable memory": (lambda _: torch.empty(4).to(CUDA, non_blocking=True), "copies from cpu to cuda"),
    "a tensor of a number": (lambda _: torch.tensor(3.0, device=CUDA), "copies from cpu to cuda"),
    "a tensor of numbers": (lambda _: torch.as_tensor([1.0, 2.0], device=CUDA), "copies from cpu to cuda"),
    "new_tensor": (lambda x: x.new_tensor([1.0]), "copies from cpu to cuda"),
    "indices on the host": (
        lambda x: x[torch.zeros(2, dtype=torch.int64)],
        "mixes tensors on cpu and cuda",
    ),
    "pin_memory": (lambda _: torch.empty(4).pin_memory(), "pinned memory"),
    "synchronize": (lambda _: torch.cuda.synchronize(), "waits for the device"),
    "an event": (lambda _: torch.cuda.Event.synchronize(torch.cuda.Event), "waits for the device"),
    "the generator's state": (lambda _: torch.cuda.get_rng_state(), "random-number generator"),
    "a seed": (lambda _: torch.manual_seed(1), "random-number generator"),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_it_fails(kind: str) -> None:
    call, reason = FORBIDDEN[kind]
    with imagined_cuda():
        x = _ones(4, 5).requires_grad_()
        with forbid_host_sync(), pytest.raises(HostSyncError, match=reason):
            call(x)


def _of_a_step(x: Tensor) -> None:
    weight = _ones(5, 3).requires_grad_()
    hidden = torch.relu(nn.functional.layer_norm(x @ weight, (3,)))
    kept = torch.where(hidden > 0, hidden, 0)
    chosen = kept[_indices()] + kept.index_select(0, _indices())
    repeated = torch.repeat_interleave(chosen, 2, dim=0)
    noise = torch.randn_like(repeated) + torch.full((), 3.0, device=CUDA)
    loss = (repeated.bfloat16() * noise).float().mean() / 2
    loss.backward()
    torch._foreach_mul_([weight.grad], loss.detach())
    weight.detach().mul_(0.5).clamp_(min=0).zero_()
    weight.detach().add_(torch.tensor(2.0))  # a number, as an argument


def test_it_lets_the_operations_of_a_step_through() -> None:
    with imagined_cuda():
        x = _ones(4, 5)
        with forbid_host_sync():
            _of_a_step(x)


class _ReadsItsGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * gradient.abs().max().item()


def test_it_fails_in_a_backward() -> None:
    with imagined_cuda():
        x = _ones(4, 5).requires_grad_()
        loss = _ReadsItsGradient.apply(x).sum()
        with forbid_host_sync(), pytest.raises(HostSyncError, match="_local_scalar_dense"):
            loss.backward()


def test_the_message_names_the_operation_and_the_line() -> None:
    with imagined_cuda(), forbid_host_sync(), pytest.raises(HostSyncError) as caught:
        nn.functional.relu(_ones(2)).sum().item()
    line = test_the_message_names_the_operation_and_the_line.__code__.co_firstlineno + 2
    assert str(caught.value) == (
        f"aten._local_scalar_dense.default reads a value on the host (at {__file__}:{line}): "
        "a CUDA graph cannot capture it"
    )


@pytest.mark.parametrize("call", [lambda x: x.sum().item(), Tensor.tolist, Tensor.numpy, Tensor.nonzero])
def test_values_are_not_read_of_tensors_on_the_cpu_either(call: Callable[[Tensor], object]) -> None:
    with forbid_host_sync(), pytest.raises(HostSyncError):
        call(torch.ones(3))


def test_everything_is_as_it_was_afterwards() -> None:
    before = (torch.cuda.synchronize, torch.manual_seed, vars(torch.cuda.Event).get("synchronize"))
    apply = nn.Module._apply
    with pytest.raises(HostSyncError), imagined_cuda(), forbid_host_sync():
        torch.manual_seed(1)
    assert (torch.cuda.synchronize, torch.manual_seed, vars(torch.cuda.Event).get("synchronize")) == before
    assert nn.Module._apply is apply
    assert torch.ones(3).sum().item() == 3


def test_a_module_moves_to_the_imagined_device() -> None:
    with imagined_cuda():
        moved = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(CUDA)
        assert {tensor.device.type for tensor in moved.state_dict().values()} == {"cuda"}
        assert re.match("FakeTensor", repr(moved(_ones(2, 3))))
