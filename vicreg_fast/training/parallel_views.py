"""Both views through the network at once, each on half of a CPU's threads.

Until the loss meets them the two views have nothing to do with each other, nor do their gradients below the
loss. The layers of a small network are too short to share out among threads, and two views are not. So each
view gets threads of its own, in the forward and in the backward. What is computed stays the same: a weight's
gradient is the sum of the views' two, in either order.

Running statistics are the one thing that both views would write. The second view has its own, which begin at
zero in each step, and which BatchNorm's rule then adds to those of the first:

    r₂ = (1 − m)·r₁ + m·s₂      with r₁ after the first view, s₂ the second's statistic, m the momentum
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vicreg_fast.model import TwoViewNetwork

T = TypeVar("T")


class ParallelViews:
    """The network's forward and backward, view 1 in the calling thread and view 2 in another.

    It holds no weights of its own. `prepare` makes a view ready for the network, and `autocast` gives the
    context of a forward, which is a thread's. Close it when done.
    """

    def __init__(
        self,
        network: TwoViewNetwork,
        prepare: Callable[[Tensor], Tensor],
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._networks = (network, _twin(network))
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        self._prepare = prepare
        self._autocast = autocast
        pairs = zip(*map(_norms, self._networks), strict=True)
        self._tracked = [(norm, other) for norm, other in pairs if norm.track_running_stats]
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="view-2")
        self._embeddings: tuple[Tensor, ...] = ()
        self._leaves: tuple[Tensor, ...] = ()

    def __call__(self, view_1: Tensor, view_2: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, S, S) uint8 twice → the embeddings (n, D) twice, cut off from the network: a loss of them
        leaves its gradients there, and `backward` takes them on."""
        for _, other in self._tracked:
            assert other.running_mean is not None
            assert other.running_var is not None
            other.running_mean.zero_()
            other.running_var.zero_()
        self._embeddings = self._both(self._forward, (view_1, view_2))
        leaf_1, leaf_2 = (embeddings.detach().requires_grad_() for embeddings in self._embeddings)
        self._leaves = (leaf_1, leaf_2)
        return leaf_1, leaf_2

    def backward(self) -> None:
        """Adds the sum of both views' gradients to those of the weights."""
        found = self._both(self._backward, [leaf.grad for leaf in self._leaves])
        self._embeddings = self._leaves = ()
        for weight, mine, other in zip(self._weights, *found, strict=True):
            mine += other  # in this order and by itself, as one backward through both views adds them
            weight.grad = mine if weight.grad is None else weight.grad.add_(mine)
        # Not before: a norm's backward refuses statistics that changed since its forward.
        self._merge_statistics()

    def close(self) -> None:
        self._thread.shutdown()

    def _both(self, work: Callable[[int, Any], T], inputs: Sequence[Any]) -> tuple[T, T]:
        """`work` of view 0 and of view 1 at once, each on half of the threads."""
        threads = torch.get_num_threads()

        def on_half(view: int) -> T:
            torch.set_num_threads(threads // 2)  # of this Python thread
            return work(view, inputs[view])

        later = self._thread.submit(on_half, 1)
        try:
            return on_half(0), later.result()
        finally:
            wait([later])
            torch.set_num_threads(threads)

    def _forward(self, view: int, images: Tensor) -> Tensor:
        network = self._networks[view]
        with self._autocast():
            embeddings: Tensor = network.expander(network.backbone(self._prepare(images)))
        return embeddings

    def _backward(self, view: int, gradient: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self._embeddings[view], self._weights, gradient)

    @torch.no_grad()
    def _merge_statistics(self) -> None:
        for norm, other in self._tracked:
            assert norm.momentum is not None
            assert norm.num_batches_tracked is not None
            for mine, theirs in (
                (norm.running_mean, other.running_mean),
                (norm.running_var, other.running_var),
            ):
                assert mine is not None
                assert theirs is not None
                mine.mul_(1 - norm.momentum).add_(theirs)
            norm.num_batches_tracked.add_(1)


def parallel_obstacle(device: torch.device) -> str | None:
    """Why two views cannot run at once on that device; None where they can."""
    if device.type != "cpu":
        return "is for CPUs: one view keeps a GPU busy"
    return None if torch.get_num_threads() > 1 else "needs two threads or more"


def _twin(network: TwoViewNetwork) -> TwoViewNetwork:
    """The same network on the same parameters, with buffers of its own."""
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return copy.deepcopy(network, memo=dict(shared))


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
