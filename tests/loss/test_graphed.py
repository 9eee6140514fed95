"""The graphed loss: what it refuses, what it hands to torch, and, on a GPU, that replays are eager."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.loss.paths import HAS_CUDA
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegTerms, graphed, vicreg_loss
from vicreg_fast.training.capture_guard import forbid_host_sync, imagined_cuda

needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")


@pytest.mark.skipif(HAS_CUDA, reason="is about a machine without CUDA")
def test_it_needs_a_cuda_device() -> None:
    with pytest.raises(UsageError, match=r"^device = 'cuda': no CUDA device is here; .*$"):
        graphed((8, 4), torch.float32)


def test_it_is_not_for_the_cpu() -> None:
    with pytest.raises(UsageError, match=r"^device = 'cpu': CUDA graphs need CUDA; use VICRegLoss there$"):
        graphed((8, 4), torch.float32, device="cpu")


def test_options_are_those_of_the_loss() -> None:
    with pytest.raises(UsageError, match="preset = 'papers'"):
        graphed((8, 4), torch.float32, device="cpu", preset="papers")


class StandIn:
    """For torch.cuda.make_graphed_callables: replays by calling, forbids what a capture would."""

    def __init__(self) -> None:
        self.samples: tuple[Tensor, ...] = ()
        self.replays = 0

    def __call__(self, call: Callable[..., Any], samples: tuple[Tensor, ...]) -> Callable[..., Any]:
        self.samples = samples
        assert not torch.is_autocast_enabled("cuda")
        with forbid_host_sync():
            call(*samples)

        def replay(*views: Tensor) -> Any:
            self.replays += 1
            return call(*views)

        return replay


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An imagined device, which captures nothing."""
    with imagined_cuda():
        made = StandIn()
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
        yield made
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_is_captured_with_samples_of_its_shape(stand_in: StandIn, dtype: torch.dtype) -> None:
    loss = graphed((8, 5), dtype, preset="paper", form="covariance")
    x, y = stand_in.samples
    for sample in (x, y):
        assert sample.shape == (8, 5)
        assert sample.dtype == dtype
        assert sample.device == torch.device("cuda", 0)
        assert sample.requires_grad
        assert sample.is_leaf
    assert x is not y
    value = loss(*(torch.randn(8, 5, dtype=dtype, device="cuda").requires_grad_() for _ in range(2)))
    assert isinstance(value, Tensor)
    assert value.shape == ()
    assert value.requires_grad
    assert stand_in.replays == 1


@pytest.mark.usefixtures("stand_in")
def test_terms() -> None:
    loss = graphed((8, 5), torch.float32, return_terms=True)
    value, terms = loss(*(torch.randn(8, 5, device="cuda").requires_grad_() for _ in range(2)))
    assert value.requires_grad
    assert isinstance(terms, VICRegTerms)
    assert not any(term.requires_grad for term in terms)


def test_other_views_are_refused_before_a_replay(stand_in: StandIn) -> None:
    loss = graphed((8, 5), torch.float32)
    right = torch.zeros(8, 5, device="cuda")
    for x, y, message in (
        (torch.zeros(7, 5, device="cuda"), right, "x is 7×5 float32 on cuda:0: the graph is of 8×5 float32"),
        (right, torch.zeros(5, 8, device="cuda"), "y is 5×8 float32 on cuda:0"),
        (right, right.bfloat16(), "y is 8×5 bfloat16 on cuda:0"),
        (torch.zeros(8, 5), right, "x is 8×5 float32 on cpu"),
    ):
        with pytest.raises(UsageError, match=message):
            loss(x, y)
    assert stand_in.replays == 0


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 5), torch.float32, "at least two rows"),
        ((8, 0), torch.float32, "at least two rows and one dimension"),
        ((8, 5), torch.int64, "floating dtype"),
    ],
)
def test_shapes_that_no_loss_has(shape: tuple[int, int], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graphed(shape, dtype)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("shape", [(64, 200), (200, 64)], ids=str)
def test_replays_are_eager(
    shape: tuple[int, int], backend: str, dtype: torch.dtype, return_terms: bool
) -> None:
    loss = graphed(shape, dtype, backend=backend, return_terms=return_terms)
    for seed in range(4):
        generator = torch.Generator("cuda").manual_seed(seed)
        views = [
            torch.randn(shape, generator=generator, device="cuda").to(dtype).requires_grad_()
            for _ in range(2)
        ]
        expected, expected_terms = vicreg_loss(*views, backend=backend, return_terms=True)
        expected_gradients = torch.autograd.grad(expected * (seed + 1), views)
        result = loss(*views)
        value, terms = result if isinstance(result, tuple) else (result, None)
        gradients = torch.autograd.grad(value * (seed + 1), views)
        assert torch.equal(value, expected)
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            assert torch.equal(gradient, expected_gradient)
        if return_terms:
            assert terms is not None
            for term, expected_term in zip(terms, expected_terms, strict=True):
                assert torch.equal(term, expected_term)


@pytest.mark.gpu
@needs_cuda
def test_one_view_and_no_gradient() -> None:
    loss = graphed((64, 32), torch.float32)
    x, y = torch.randn(2, 64, 32, device="cuda")
    with torch.no_grad():
        assert torch.equal(loss(x, y), vicreg_loss(x, y))
    x = x.clone().requires_grad_()
    expected = torch.autograd.grad(vicreg_loss(x, y), x)[0]
    # Eager code multiplies for one view what the graph does for both, and cuBLAS may sum in another order.
    torch.testing.assert_close(torch.autograd.grad(loss(x, y), x)[0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
@needs_cuda
def test_it_is_made_under_autocast_too() -> None:
    with torch.autocast("cuda", torch.bfloat16):
        loss = graphed((16, 32), torch.bfloat16)
        x, y = torch.randn(2, 16, 32, device="cuda", dtype=torch.bfloat16)
        assert torch.equal(loss(x, y), vicreg_loss(x, y))
