"""Peak extra memory, to the byte on a CPU."""

import torch
from torch import Tensor

from bench.loss_memory import peak_extra_bytes
from bench.loss_speed import draw_views
from bench.rivals import official_loss
from vicreg_fast.loss import vicreg_loss

FLOAT = 4


class _Allocates(torch.autograd.Function):
    """Holds `size` floats in its forward and no longer, and gives zero gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(x, y)
        held = torch.empty(size)
        del held
        return x.new_zeros(())

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        return torch.empty_like(x), torch.empty_like(y), None


def _views(n: int, d: int) -> tuple[Tensor, Tensor]:
    return draw_views(n, d, torch.float32, torch.device("cpu"))


def test_the_peak_is_counted_to_the_byte_and_what_is_freed_before_it_is_not() -> None:
    x, y = _views(64, 100)
    gradients = 2 * x.numel() * FLOAT
    # Beside the gradients: the 0-d loss, and the 0-d ones that autograd starts from.
    assert peak_extra_bytes(lambda a, b: _Allocates.apply(a, b, 7), x, y) == gradients + 2 * FLOAT
    assert peak_extra_bytes(lambda a, b: _Allocates.apply(a, b, 10**6), x, y) == 10**6 * FLOAT


def test_inputs_are_not_counted_and_gradients_are() -> None:
    x, y = _views(8, 2000)
    views = 2 * x.numel() * FLOAT
    assert views <= peak_extra_bytes(vicreg_loss, x, y) < 4 * views


def test_the_authors_formula_holds_matrices_and_ours_does_not() -> None:
    x, y = _views(16, 512)
    matrix = 512 * 512 * FLOAT
    assert peak_extra_bytes(official_loss, x, y) > 3 * matrix
    assert peak_extra_bytes(vicreg_loss, x, y) < matrix / 4


def test_measuring_says_nothing_on_the_processs_stderr(capfd) -> None:
    peak_extra_bytes(official_loss, *_views(4, 8))
    assert capfd.readouterr().err == ""
