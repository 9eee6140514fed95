"""The work of the loss and of the optimisers, counted: a change in it shows on any machine.

Counted are operators of torch, without those that only make a view, and launches of Triton kernels; and the
bytes that autograd keeps for the backward. A number that goes down is a gain to write in here; one that goes
up needs a reason.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tests.loss.paths import TRITON_PATHS
from vicreg_fast.config import Recipe
from vicreg_fast.loss import plan_loss, vicreg_loss
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate

N, D = 12, 9
Work = dict[str, int]

# float32, without terms
TORCH_FORWARD: Work = {
    "_to_copy": 4,
    "add": 3,
    "addcmul_": 1,
    "baddbmm": 2,
    "bitwise_and": 1,
    "clamp_min_": 1,
    "div": 1,
    "div_": 1,
    "empty": 1,
    "gt": 2,
    "linalg_vector_norm": 2,
    "mean": 1,
    "mul": 7,
    "mul_": 1,
    "new_empty": 1,
    "pow": 3,
    "reciprocal": 1,
    "rsub": 1,
    "scalar_tensor": 1,
    "sqrt_": 1,
    "sub": 3,
    "sub_": 1,
    "sum": 5,
    "where": 1,
}
# beside that
GRAM: Work = {"_to_copy": 1, "div": 1, "linalg_vector_norm": 1, "pow": 1, "sub": 2, "sum": 1}
COVARIANCE: Work = {"zero_": 1}
TORCH_BACKWARD: Work = {"empty_like": 1, "mul": 1, "ones_like": 1}

TRITON_FORWARD: Work = {"centre_kernel": 1, "empty": 6, "finish_kernel": 1, "product_kernel": 1, "zeros": 1}
TRITON_BACKWARD: Work = {"empty": 1, "gradient_kernel": 1, "ones_like": 1}

TERMS: Work = {
    "_to_copy": 1,
    "add": 2,
    "clamp_min": 1,
    "div": 2,
    "eq": 1,
    "lt": 1,
    "max": 1,
    "mean": 2,
    "min": 2,
    "mul": 1,
    "pow": 2,
    "scalar_tensor": 1,
    "sqrt_": 1,
    "sum": 3,
    "where": 1,
}

# Half precision is widened, three times in all; float64 needs no wider sum of squares.
CONVERSIONS: dict[tuple[str, torch.dtype], int] = {
    ("gram", torch.float64): -5,
    ("gram", torch.float32): 0,
    ("gram", torch.bfloat16): 3,
    ("gram", torch.float16): 3,
    ("covariance", torch.float64): -4,
    ("covariance", torch.float32): 0,
    ("covariance", torch.bfloat16): 3,
    ("covariance", torch.float16): 3,
}

SAVED_BYTES: dict[tuple[str, str, torch.dtype], int] = {
    # the gradient of both views, in the accumulation dtype
    ("torch", "gram", torch.float64): 1728,
    ("torch", "gram", torch.float32): 864,
    ("torch", "gram", torch.bfloat16): 864,
    ("torch", "gram", torch.float16): 864,
    ("torch", "covariance", torch.float64): 1728,
    ("torch", "covariance", torch.float32): 864,
    ("torch", "covariance", torch.bfloat16): 864,
    ("torch", "covariance", torch.float16): 864,
    # the centred views, the products and the columns' coefficients
    ("triton", "gram", torch.float32): 864 + 1152 + 72,
    ("triton", "gram", torch.bfloat16): 432 + 576 + 72,
    ("triton", "gram", torch.float16): 432 + 1152 + 72,
    ("triton", "covariance", torch.float32): 864 + 648 + 72,
    ("triton", "covariance", torch.bfloat16): 432 + 324 + 72,
    ("triton", "covariance", torch.float16): 432 + 648 + 72,
}
CASES = [
    pytest.param(*case, id="-".join(str(part) for part in case), marks=_marks)
    for case in SAVED_BYTES
    for _marks in [TRITON_PATHS[0].marks if case[0] == "triton" else []]
]


class CountedWork(TorchDispatchMode):
    """Counts operators, by their names without the overload."""

    def __init__(self) -> None:
        super().__init__()
        self.counter: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten" and not func.is_view:  # others are marks for the profiler
            self.counter[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def taken(self) -> Work:
        """What was counted since this was last asked."""
        work, self.counter = dict(sorted(self.counter.items())), Counter()
        return work


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountedWork]:
    """Counts Triton's launches as well; what the interpreter does inside one is not counted."""
    counted = CountedWork()
    try:
        from triton.runtime.interpreter import GridExecutor
    except ImportError:
        pass
    else:
        launch = GridExecutor.__call__

        def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
            counted.counter[self.fn.__name__] += 1
            with _disable_current_modes():
                return launch(self, *args, **kwargs)

        monkeypatch.setattr(GridExecutor, "__call__", counting)
    with counted:
        yield counted


def _sum(*parts: Work) -> Work:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return {name: count for name, count in sorted(total.items()) if count}


def _require(found: Work, expected: Work, of: str) -> None:
    names = sorted(found.keys() | expected.keys())
    changed = [
        f"  {name}: {found.get(name, 0)}, was {expected.get(name, 0)}"
        for name in names
        if found.get(name, 0) != expected.get(name, 0)
    ]
    total = f"{sum(found.values())} operations, were {sum(expected.values())}"
    assert not changed, "\n".join([f"{of} does other work than before ({total}):", *changed])


def _views(dtype: torch.dtype, needs: tuple[bool, bool] = (True, True)) -> tuple[Tensor, Tensor]:
    x, y = (torch.randn(N, D, dtype=dtype).requires_grad_(need) for need in needs)
    return x, y


def _bytes_kept(call: Callable[[], Any], *alive: Tensor) -> tuple[Any, int]:
    """What `call` returns, and the bytes that autograd keeps for its backward, without those of `alive`."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    for tensor in alive:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return result, sum(kept.values())


@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize(("backend", "form", "dtype"), CASES)
def test_operators(
    backend: str, form: str, dtype: torch.dtype, return_terms: bool, work: CountedWork
) -> None:
    x, y = _views(dtype)
    work.taken()
    result = vicreg_loss(x, y, form=form, backend=backend, return_terms=return_terms)
    loss = result[0] if isinstance(result, tuple) else result
    forward = work.taken()
    loss.backward()
    backward = work.taken()

    expected, expected_backward = TRITON_FORWARD, TRITON_BACKWARD
    if backend == "torch":
        converted = {"_to_copy": CONVERSIONS[form, dtype]}
        expected = _sum(TORCH_FORWARD, GRAM if form == "gram" else COVARIANCE, converted)
        expected_backward = TORCH_BACKWARD
    _require(forward, _sum(expected, TERMS if return_terms else {}), "the forward")
    _require(backward, expected_backward, "the backward")


@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize(("backend", "form", "dtype"), CASES)
def test_bytes_kept_for_the_backward(backend: str, form: str, dtype: torch.dtype, return_terms: bool) -> None:
    x, y = _views(dtype)
    _, kept = _bytes_kept(
        lambda: vicreg_loss(x, y, form=form, backend=backend, return_terms=return_terms), x, y
    )
    assert kept == SAVED_BYTES[backend, form, dtype]
    assert kept == plan_loss(N, N, D, dtype, "cpu", 1, form, backend).saved_bytes


@pytest.mark.parametrize(
    ("backend", "form", "dtype"), [case for case in CASES if case.values[2] is torch.float32]
)
def test_no_gradient_is_no_backward_work(
    backend: str, form: str, dtype: torch.dtype, work: CountedWork
) -> None:
    """Without a gradient the torch backend does less, and nothing is kept."""
    x, y = _views(dtype, (False, False))
    work.taken()
    _, kept = _bytes_kept(lambda: vicreg_loss(x, y, form=form, backend=backend), x, y)
    assert kept == 0
    forward = work.taken()
    expected = TRITON_FORWARD
    if backend == "torch":
        saved: Work = {"addcmul_": -1, "baddbmm": -1, "bitwise_and": -1, "gt": -2, "mul": -2, "mul_": -1}
        saved |= {"reciprocal": -1, "scalar_tensor": -1, "where": -1}
        only_gram: Work = {"sub": -1} if form == "gram" else {}
        expected = _sum(TORCH_FORWARD, GRAM if form == "gram" else COVARIANCE, saved, only_gram)
    _require(forward, expected, "the forward without a gradient")


# After the first step, which makes the state.
OPTIMIZERS: dict[str, Work] = {
    "lars": {
        "_foreach_add": 1,
        "_foreach_add_": 4,
        "_foreach_mul_": 3,
        "_foreach_norm": 2,
        "bitwise_and": 1,
        "div": 1,
        "gt": 2,
        "mul": 1,
        "ones_like": 1,
        "stack": 2,
        "where": 1,
    },
    # one of each for the weights, and one for the vectors, which do not decay
    "adamw": {"_foreach_add_": 2, "_fused_adamw_": 2},
    "sgd": {"_fused_sgd_": 2},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizers_step(optimizer: str, work: CountedWork) -> None:
    """A number that does not grow with the network: weights are updated together."""
    recipe = Recipe(optimizer=optimizer, expander="8-8")
    small = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5, bias=False), nn.Linear(5, 3))
    large = nn.Sequential(*(nn.Linear(4, 4) for _ in range(9)))
    for network in (small, large):
        stepped = build_optimizer(recipe, network)
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        for _ in range(2):
            set_learning_rate(stepped, 0.1)
            work.taken()
            stepped.step()
        _require(work.taken(), OPTIMIZERS[optimizer], f"a step of {optimizer}")
