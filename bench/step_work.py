"""The work of a training step, counted on its operators.

    model FLOPs = network, both views, forward and backward + the least work of the exact loss

are the algorithm's, the same for every scenario of a recipe: model FLOPs utilisation (MFU) is their rate over
what the device's matrix products reach. What a scenario does beyond them (D×D products where N×N ones are
fewer) is in its own count, and never in its favour.

Counted are matrix products and convolutions, by the formulas of torch.utils.flop_counter: a multiplication
and an addition are two operations. A convolution of n images, C_in → C_out, k×k, to H×W costs
2·n·C_in·C_out·k²·H·W forward, as much for its weight's gradient, and as much again for its input's where one
is wanted: the first has none. The network's count needs shapes only and is taken on torch's meta device, with
nothing computed.

The counter does not see into kernels that are not torch's: of a loss without a product that it knows, the
plan's dense products are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.limits_record import StepWork
from bench.roofline import least_work
from bench.scenarios import Built
from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe
from vicreg_fast.loss import plan_loss
from vicreg_fast.model import build_network
from vicreg_fast.training.precision import choose_precision
from vicreg_fast.training.step import AUTOCAST_DTYPES, TrainingStep

VIEWS = 2


def network_flops(recipe: Recipe) -> int:
    """Of both views through the recipe's network and back, for one whole batch."""
    rows, side = recipe.batch_size // recipe.accumulate, recipe.image_size
    random_state = torch.get_rng_state()
    try:
        with torch.device("meta"):
            network = build_network(recipe)
            _drop_norms(network)  # they have no product, and are most of the time of a network on meta
            views = [torch.empty(rows, 3, side, side) for _ in range(VIEWS)]
    finally:
        torch.set_rng_state(random_state)
    with _Counting() as counted:
        z_1, z_2 = network(*views)
        torch.autograd.backward([z_1, z_2], [torch.empty_like(z_1), torch.empty_like(z_2)])
    return int(recipe.accumulate * counted.flops)


def _drop_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _drop_norms(child)


def loss_least_flops(recipe: Recipe) -> int:
    """Of the exact loss, forward and backward, in whichever form is less, for one whole batch."""
    rows, width = recipe.batch_size // recipe.accumulate, recipe.expander_widths[-1]
    return recipe.accumulate * least_work(rows, width, 4, "forward+backward").flops


def product_dtype(recipe: Recipe, device: torch.device) -> str:
    """What the network's products run in: `float32`, `tf32`, `bfloat16` or `float16`. Convolutions of float32
    take TF32 on a GPU unless torch is told otherwise.
    """
    precision, _ = choose_precision(recipe.precision, device)
    if precision in AUTOCAST_DTYPES:
        return str(AUTOCAST_DTYPES[precision]).removeprefix("torch.")
    return "tf32" if device.type == "cuda" and torch.backends.cudnn.allow_tf32 else "float32"


@dataclass(frozen=True, kw_only=True)
class CountedStep:
    """What the operators of one step did."""

    flops: int
    operator_bytes: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_state_bytes: int
    view_bytes: int


def count_step(train_step: TrainingStep, batches: Sequence[ViewBatch]) -> CountedStep:
    """Runs one step of an eager TrainingStep, which trains it, and counts."""
    with _Counting() as counted:
        train_step(batches)
    parameters = [p for p in train_step.network.parameters() if p.requires_grad]
    return CountedStep(
        flops=counted.flops,
        operator_bytes=counted.moved_bytes,
        parameter_bytes=sum(p.nbytes for p in parameters),
        gradient_bytes=sum(p.grad.nbytes for p in parameters if p.grad is not None),
        optimizer_state_bytes=_state_bytes(train_step.optimizer),
        view_bytes=sum(batch.view_1.nbytes + batch.view_2.nbytes for batch in batches),
    )


def step_work(built: Built, train_step: TrainingStep, batches: Sequence[ViewBatch]) -> StepWork:
    """The record of a scenario. `train_step` is its own where that is eager; where it compiles or captures,
    the same step is built anew without, counted, and given back.
    """
    device, recipe = train_step.device, built.recipe
    eager = not recipe.compile and recipe.capture == "off"
    counted = count_step(train_step, batches) if eager else _count_twin(built, device, batches)
    network = network_flops(recipe)
    of_loss = counted.flops - network
    return StepWork(
        scenario=built.record.name,
        device=device.type,
        dtype=product_dtype(recipe, device),
        batch_size=recipe.batch_size,
        network_flops=network,
        loss_least_flops=loss_least_flops(recipe),
        loss_flops=of_loss if of_loss > 0 else _planned_loss_flops(recipe, device),
        loss_counted="operators" if of_loss > 0 else "formula",
        parameter_bytes=counted.parameter_bytes,
        gradient_bytes=counted.gradient_bytes,
        optimizer_state_bytes=counted.optimizer_state_bytes,
        view_bytes=counted.view_bytes,
        operator_bytes=counted.operator_bytes,
        eager_twin=not eager,
    )


def _count_twin(built: Built, device: torch.device, batches: Sequence[ViewBatch]) -> CountedStep:
    twin = TrainingStep(
        built.recipe.replace(compile=False, capture="off"),
        device,
        steps_per_epoch=1,
        loss=built.loss,
        make_optimizer=built.make_optimizer,
    )
    try:
        return count_step(twin, batches)
    finally:
        twin.close()
        del twin
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _planned_loss_flops(recipe: Recipe, device: torch.device) -> int:
    """Of kernels that the counter does not see into, which only our loss has: those of its plan."""
    rows, width = recipe.batch_size // recipe.accumulate, recipe.expander_widths[-1]
    dtype = AUTOCAST_DTYPES.get(recipe.precision, torch.float32)
    plan = plan_loss(rows, rows, width, dtype, device.type, form=recipe.loss_form)
    return recipe.accumulate * plan.flops


def _state_bytes(optimizer: optim.Optimizer) -> int:
    """Of what the optimiser keeps for each entry of a parameter; its counts of steps are left out."""
    tensors = [value for state in optimizer.state.values() for value in state.values()]
    return sum(t.nbytes for t in tensors if isinstance(t, Tensor) and t.ndim > 0)


class _Counting(TorchDispatchMode):
    """Adds up the FLOPs of operators, by the formulas of torch's own counter, and the tensors they read and
    write; one that only makes a view moves nothing. torch's FlopCounterMode is not used because it takes
    operators apart that it has no formula for, and so would count what they move in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: int = 0
        self.moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.overloadpacket in flop_registry:
            self.flops += int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=found))
        if func.namespace == "aten" and not func.is_view and name not in _MAKE_ONLY:
            self.moved_bytes += _moved(func._schema, name, args, kwargs, found)
        return found


_MAKE_ONLY = frozenset(
    {"detach", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
)
"""Make a tensor without filling it, or another name for one."""
_OVERWRITE = frozenset({"copy_", "fill_", "zero_"})
"""Write a tensor without reading it first."""


def _moved(schema: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
    written = 0
    for place, argument in enumerate(schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            written += _bytes(value)
    read = _bytes(args) + _bytes([*kwargs.values()]) - (written if name in _OVERWRITE else 0)
    returned = found if isinstance(found, tuple) else (found,)
    # What an operator changed in place it may return as well: that is no second tensor.
    fresh = [
        value
        for value, declared in zip(returned, schema.returns, strict=False)
        if declared.alias_info is None or not declared.alias_info.is_write
    ]
    return read + written + _bytes(fresh)


def _bytes(value: Any) -> int:
    """Of the tensors in an operator's arguments: there are lists of tensors, and nothing deeper."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return 0
