"""What stands between the loss and its backends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from vicreg_fast.distributed import SINGLE
from vicreg_fast.loss import backends, fused, plan_loss, vicreg_loss
from vicreg_fast.loss.presets import Objective, preset_named
from vicreg_fast.training.capture_guard import imagined_cuda


def test_triton_is_launched_on_the_device_of_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be the current one: torch's own operators ask the tensors, a launch does not."""
    current: list[torch.device] = []
    launched: list[torch.device] = []

    @contextmanager
    def device(entered: torch.device) -> Iterator[None]:
        current.append(entered)
        yield
        current.pop()

    def launch(*_: Any, **__: Any) -> tuple[None, tuple[None, None, None]]:
        launched.append(current[-1])
        return None, (None, None, None)

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(fused, "fused_forward", launch)
    monkeypatch.setattr(fused, "fused_backward", launch)
    options: dict[str, Any] = {
        "objective": Objective(preset=preset_named("official")),
        "plan": plan_loss(8, 8, 16, torch.float32, "cuda", backend="triton"),
        "ranks": SINGLE,
        "views": slice(0, 2),
    }
    with imagined_cuda():
        x, y = (torch.empty(8, 16, device="cuda:0") for _ in range(2))
        _, saved = backends.forward(x, y, **options)
        backends.backward(saved, torch.empty((), device="cuda:0"), dtype=x.dtype, **options)
    assert launched == [torch.device("cuda", 0)] * 2


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("form", ["gram", "covariance"])
def test_views_on_a_device_that_is_not_current(form: str) -> None:
    views = torch.randn(2, 41, 57)

    def gradients(device: str) -> list[Tensor]:
        x, y = (z.to(device).requires_grad_() for z in views)
        found = torch.autograd.grad(vicreg_loss(x, y, form=form, backend="triton"), (x, y))
        return [gradient.cpu() for gradient in found]

    torch.testing.assert_close(gradients("cuda:1"), gradients("cuda:0"), rtol=1e-5, atol=1e-7)
    assert torch.cuda.current_device() == 0
