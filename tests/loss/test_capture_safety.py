"""The loss and the whole step hold nothing that a CUDA graph could not, checked without a GPU.

The torch backend and the step run on imagined CUDA tensors, where a copy to the host is seen; a step under
autocast runs on the CPU, where values must still not be read. Triton's kernels are interpreted, and only what
surrounds their launches is looked at: the interpreter is Python, and reads values.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pipelines.contract import ViewBatch
from tests.loss.paths import TRITON_PATHS, LossPath
from vicreg_fast.config import Recipe
from vicreg_fast.loss import VICRegLoss, vicreg_loss
from vicreg_fast.training.capture_guard import HostSyncError, forbid_host_sync, imagined_cuda
from vicreg_fast.training.step import TrainingStep

CUDA = torch.device("cuda", 0)
FORMS = ("gram", "covariance")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
PRECISIONS: dict[str, tuple[str, Callable[[], AbstractContextManager[None]]]] = {
    "fp32": ("cuda:0", imagined_cuda),
    "bf16": ("cpu", nullcontext),
}


def _views(device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x, y = (torch.randn(12, 9, dtype=dtype, device=device).requires_grad_() for _ in range(2))
    return x, y


def _guarded(x: Tensor, y: Tensor, return_terms: bool, **options: Any) -> None:
    with forbid_host_sync():
        result = VICRegLoss(**options)(x, y, return_terms)
        loss = result[0] if return_terms else result
        (loss * 1024).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_the_torch_backend(form: str, dtype: torch.dtype, return_terms: bool) -> None:
    with imagined_cuda():
        _guarded(*_views("cuda:0", dtype), return_terms, form=form, backend="torch")


@pytest.mark.parametrize("preset", ["paper", "summed", "no-eps"])
def test_every_preset(preset: str) -> None:
    with imagined_cuda():
        _guarded(*_views("cuda:0", torch.float32), True, preset=preset)


@pytest.mark.parametrize("form", FORMS)
def test_one_view_and_none(form: str) -> None:
    with imagined_cuda():
        x, y = _views("cuda:0", torch.float32)
        with forbid_host_sync():
            vicreg_loss(x, y.detach(), form=form).backward()
            vicreg_loss(x.detach(), y, form=form).backward()
            with torch.no_grad():
                vicreg_loss(x, y, form=form, return_terms=True)


@pytest.fixture
def launches_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the interpreter does inside a launch is hidden from the guard."""
    from triton.runtime.interpreter import GridExecutor

    launch = GridExecutor.__call__

    def unseen(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return launch(self, *args, **kwargs)

    monkeypatch.setattr(GridExecutor, "__call__", unseen)


@pytest.mark.usefixtures("launches_unseen")
@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", TRITON_PATHS[:1])
def test_what_surrounds_the_triton_kernels(
    path: LossPath, form: str, dtype: torch.dtype, return_terms: bool
) -> None:
    _guarded(*_views(path.device, dtype), return_terms, form=form, backend="triton")


def _recipe(**options: Any) -> Recipe:
    settings: dict[str, Any] = {
        "augmentation": "small-images",
        "image_size": 32,
        "backbone": "resnet10",
        "width": 4,
        "expander": "16-24",
        "batch_size": 6,
        "precision": "fp32",
        "capture": "off",  # what is looked at is the step that would be captured
    }
    return Recipe(**(settings | options))


def _batch(device: str, n: int = 6) -> ViewBatch:
    view_1, view_2 = (torch.zeros(n, 3, 32, 32, dtype=torch.uint8, device=device) for _ in range(2))
    return ViewBatch(view_1, view_2, torch.zeros(n, dtype=torch.int64, device=device))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("forward", ["separate", "joint"])
@pytest.mark.parametrize("optimizer", ["lars", "adamw", "sgd"])
def test_the_whole_step(optimizer: str, forward: str, precision: str) -> None:
    device, imagined = PRECISIONS[precision]
    with imagined():
        recipe = _recipe(optimizer=optimizer, forward=forward, precision=precision)
        step, batch = TrainingStep(recipe, torch.device(device), steps_per_epoch=100), _batch(device)
        step([batch])  # the first makes the optimiser's state
        with forbid_host_sync():
            step([batch])


@pytest.mark.parametrize("forward", ["separate", "joint"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_forward_under_cudas_autocast(precision: str, forward: str) -> None:
    """Where copies to the host are seen, which a step on the CPU does not show."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with imagined_cuda(autocast=True), torch.no_grad():
        step, batch = TrainingStep(_recipe(forward=forward), CUDA, steps_per_epoch=100), _batch("cuda:0")
        with forbid_host_sync(), torch.autocast("cuda", dtype):
            x, y = step.network(step._prepared(batch.view_1), step._prepared(batch.view_2))
            loss, _ = step.loss(x, y)
        assert x.dtype == dtype
        assert loss.dtype == torch.float32


@pytest.mark.parametrize("loss_form", FORMS)
def test_the_step_in_either_form(loss_form: str) -> None:
    with imagined_cuda():
        step, batch = TrainingStep(_recipe(loss_form=loss_form), CUDA, steps_per_epoch=100), _batch("cuda:0")
        step([batch])
        with forbid_host_sync():
            step([batch])


def _faulty(fault: Callable[[Tensor], object]) -> Callable[[Tensor, Tensor], Any]:
    def loss(x: Tensor, y: Tensor) -> Any:
        value, terms = vicreg_loss(x, y, return_terms=True)
        fault(value.detach())
        return value, terms

    return loss


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (lambda loss: loss.item(), "_local_scalar_dense"),
        (lambda loss: loss.cpu(), "copies from cuda to cpu"),
        (lambda loss: loss if loss.isfinite() else None, "_local_scalar_dense"),
        (lambda loss: loss.isfinite().nonzero(), "nonzero"),
    ],
    ids=["item", "cpu", "branch", "nonzero"],
)
def test_a_loss_that_waits_fails_the_step(fault: Callable[[Tensor], object], operation: str) -> None:
    with imagined_cuda():
        step = TrainingStep(_recipe(), CUDA, steps_per_epoch=100, loss=_faulty(fault))
        batch = _batch("cuda:0")
        with forbid_host_sync(), pytest.raises(HostSyncError, match=operation):
            step([batch])


def test_a_batch_on_the_host_fails_the_step() -> None:
    """A captured step reads its batch from buffers on the device."""
    with imagined_cuda():
        step, batch = TrainingStep(_recipe(), CUDA, steps_per_epoch=100), _batch("cpu")
        with forbid_host_sync(), pytest.raises(HostSyncError, match="copies from cpu to cuda"):
            step([batch])


FUSED = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


def _scaled(make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> Callable[[], None]:
    scaler = torch.amp.GradScaler("cpu")
    weight = torch.ones(3, requires_grad=True)
    optimizer = make([weight])

    def step() -> None:
        scaler.scale(weight.sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def test_a_loss_scaler_waits() -> None:
    """torch's GradScaler reads, each step, whether a gradient overflowed, and skips the optimiser if one
    did.
    """
    step = _scaled(lambda weights: torch.optim.SGD(weights, lr=0.1))
    with forbid_host_sync(), pytest.raises(HostSyncError, match="_local_scalar_dense"):
        step()


@pytest.mark.parametrize("name", FUSED)
def test_a_loss_scaler_does_not_wait_for_fused_kernels(name: str) -> None:
    """They are told on the device."""
    step = _scaled(lambda weights: FUSED[name](weights, lr=torch.tensor(0.1), fused=True))
    step()
    with forbid_host_sync():
        step()
