"""torch.compile traces through the loss as one operator, without a graph break, and gives what eager does."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.loss.paths import PATHS, TRITON_PATHS, LossPath
from vicreg_fast.loss import VICRegLoss, VICRegTerms, plan_loss, vicreg_loss
from vicreg_fast.loss.closed_form import LossValue
from vicreg_fast.loss.operator import gradient_operator, loss_operator, options_text
from vicreg_fast.loss.presets import Objective, preset_named

FORMS = ("gram", "covariance")
SHAPES = {"gram": (7, 13), "covariance": (13, 7)}
NEEDS = [(True, True), (True, False), (False, True)]


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    """Each test compiles anew: torch counts recompilations a function, and stops at a limit."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _views(
    n: int,
    D: int,
    dtype: torch.dtype = torch.float64,
    *,
    needs: tuple[bool, bool] = (True, True),
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * 1009 + D + seed)
    x, y = torch.randn(2, n, D, generator=generator, dtype=torch.float64).to(device, dtype)
    return x.clone().requires_grad_(needs[0]), y.clone().requires_grad_(needs[1])


def _compiled(call: Callable[..., Any], backend: str = "aot_eager") -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(call, backend=backend, fullgraph=True, dynamic=False)
    return compiled


def _gradients(loss: Tensor, views: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss * 3, [view for view in views if view.requires_grad])


def _require_equal(compiled: Callable[..., Any], eager: Callable[..., Any], x: Tensor, y: Tensor) -> None:
    """Bit for bit: the operator runs what eager code runs."""
    found, expected = compiled(x, y), eager(x, y)
    if isinstance(expected, tuple):
        (found, terms), (expected, expected_terms) = found, expected
        assert isinstance(terms, VICRegTerms)
        for name, term, expected_term in zip(terms._fields, terms, expected_terms, strict=True):
            assert torch.equal(term, expected_term), name
            assert not term.requires_grad
    assert torch.equal(found, expected)
    for gradient, expected_gradient in zip(
        _gradients(found, (x, y)), _gradients(expected, (x, y)), strict=True
    ):
        assert gradient.dtype == x.dtype
        assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize("return_terms", [False, True], ids=["loss", "terms"])
@pytest.mark.parametrize("form", FORMS)
def test_the_function(form: str, return_terms: bool) -> None:
    def call(x: Tensor, y: Tensor) -> Any:
        return vicreg_loss(x, y, form=form, return_terms=return_terms)

    _require_equal(_compiled(call), call, *_views(*SHAPES[form]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_the_module(form: str, dtype: torch.dtype) -> None:
    module = VICRegLoss(preset="paper", gamma=0.1, invariance_weight=1 / 3, form=form)
    _require_equal(_compiled(module), module, *_views(*SHAPES[form], dtype))


@pytest.mark.parametrize("needs", NEEDS[1:], ids=["only x", "only y"])
@pytest.mark.parametrize("form", FORMS)
def test_one_view(form: str, needs: tuple[bool, bool]) -> None:
    module = VICRegLoss(form=form)
    _require_equal(_compiled(module), module, *_views(*SHAPES[form], needs=needs))


def test_without_gradients() -> None:
    compiled = _compiled(VICRegLoss())
    x, y = _views(7, 13)
    with torch.no_grad():
        value = compiled(x, y)
    assert not value.requires_grad
    assert torch.equal(value, vicreg_loss(x, y).detach())
    assert torch.equal(compiled(x.detach(), y.detach()), value)


def test_inside_a_network() -> None:
    """As a training step has it: between other operations, and under autocast."""
    weights = _views(13, 9, torch.float32)
    x, y = _views(7, 13, torch.float32, needs=(False, False))

    def call(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return vicreg_loss(x @ weights[0], y @ weights[1], return_terms=True)[0] * 2

    found, expected = _compiled(call)(x, y), call(x, y)
    assert torch.equal(found, expected)
    for gradient, expected_gradient in zip(
        _gradients(found, weights), _gradients(expected, weights), strict=True
    ):
        assert torch.equal(gradient, expected_gradient)


def test_a_second_call_does_not_compile_again() -> None:
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(VICRegLoss(), backend=counter, fullgraph=True, dynamic=False)
    for seed in range(3):
        x, y = _views(7, 13, seed=seed)
        loss = compiled(x, y)
        assert torch.equal(loss, vicreg_loss(x, y))
        loss.backward()
    assert counter.frame_count == 1
    compiled(*_views(13, 7))
    assert counter.frame_count == 2


def test_the_graph_holds_one_operator_and_no_break() -> None:
    explained = torch._dynamo.explain(VICRegLoss())(*_views(7, 13))
    assert explained.graph_break_count == 0
    (graph,) = explained.graphs
    called = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.vicreg_fast.loss.default) == 1


def test_a_dynamic_shape_is_fixed_by_its_plan() -> None:
    """The plan is of one shape: sizes that torch would rather leave open become constants, and are right."""
    compiled = torch.compile(VICRegLoss(), backend="aot_eager", fullgraph=True, dynamic=True)
    for shape in ((7, 13), (13, 7), (8, 13)):
        _require_equal(compiled, vicreg_loss, *_views(*shape))


def test_a_weight_that_changes() -> None:
    """The second value makes torch try a number that it leaves open."""

    def call(x: Tensor, y: Tensor, weight: float) -> Any:
        return vicreg_loss(x, y, covariance_weight=weight)

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    x, y = _views(7, 13)
    for weight in (1.0, 2.0, 1 / 3):
        assert torch.equal(compiled(x, y, weight), call(x, y, weight))


def test_errors_are_those_of_eager() -> None:
    with pytest.raises(Exception, match="one shape"):
        _compiled(vicreg_loss)(torch.ones(4, 3), torch.ones(4, 5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # inductor's own, in torch 2.11
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
def test_inductor() -> None:
    module = VICRegLoss()
    x, y = _views(7, 13)
    # Its caches on disk know a graph by the operators' names, not by what is in them. The configuration's own
    # patch: what pytest's monkeypatch takes back is gone from it for the tests after.
    with (
        torch._inductor.config.patch(fx_graph_cache=False),
        torch._functorch.config.patch(enable_autograd_cache=False),
    ):
        found = _compiled(lambda x, y: module(x.sin(), y), "inductor")(x, y)
        gradients = _gradients(found, (x, y))
    expected = module(x.sin(), y)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients, _gradients(expected, (x, y)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", TRITON_PATHS)
def test_triton(path: LossPath, form: str, dtype: torch.dtype) -> None:
    def call(x: Tensor, y: Tensor) -> Any:
        return vicreg_loss(x, y, form=form, backend=path.backend, return_terms=True)

    _require_equal(_compiled(call), call, *_views(*SHAPES[form], dtype, device=path.device))


def _options(form: str, backend: str) -> str:
    return options_text(Objective(preset=preset_named("official")), form, backend)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alone", [False, True], ids=["both views", "one view"])
@pytest.mark.parametrize("path", PATHS)
def test_torchs_own_check_of_the_operators(path: LossPath, form: str, alone: bool) -> None:
    """Schema, fake against real outputs, autograd registration, and tracing by AOTAutograd."""
    of_torch = path.backend == "torch"
    dtype = torch.float64 if of_torch else torch.float32
    needs = NEEDS[(1 if of_torch else 2) if alone else 0]
    x, y = _views(*SHAPES[form], dtype, needs=needs, device=path.device)
    options = (_options(form, path.backend), "", *needs)
    torch.library.opcheck(loss_operator, (x, y, *options), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        saved = loss_operator(x, y, *options)[len(LossValue._fields) :]
        upstream = torch.tensor(2.0, dtype=dtype, device=path.device)
        saved += [] if of_torch else [x, y]
        torch.library.opcheck(gradient_operator, (saved, upstream, dtype, *options))


@pytest.mark.parametrize("path", PATHS)
def test_the_operator_keeps_no_copy_of_its_inputs(path: LossPath) -> None:
    """Beside the views themselves, which are alive anyway, autograd holds what the plan says."""
    x, y = _views(7, 13, torch.float32, device=path.device)
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_operator(x, y, _options("gram", path.backend), "", True, True)[0]
    for view in (x, y):
        held.pop(view.untyped_storage().data_ptr(), None)
    assert loss.requires_grad
    plan = plan_loss(7, 7, 13, x.dtype, path.device, 1, "gram", path.backend)
    assert sum(held.values()) == plan.saved_bytes
