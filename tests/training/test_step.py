"""One step: what it trains, in which order, and what it keeps. On one device; tests/distributed has ranks."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.rival_optimizers import per_parameter_optimizer
from tests.training.steps import STEPS_PER_EPOCH, random_batches, small, tensors_of
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import vicreg_loss
from vicreg_fast.model import Normalize, build_network
from vicreg_fast.training.capture_guard import forbid_host_sync, imagined_cuda
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate
from vicreg_fast.training.schedule import recipe_learning_rate
from vicreg_fast.training.step import TrainingStep

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
OPTIMIZERS = ["lars", "adamw", "sgd"]


def made(recipe: Recipe, **options: Any) -> TrainingStep:
    return TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH, **options)


def by_hand(recipe: Recipe, batches: list[Any]) -> tuple[nn.Module, list[float]]:
    """Every step written out in float64: the gradient of each micro-batch by itself, and their mean."""
    torch.manual_seed(recipe.seed)
    network = build_network(recipe).double()
    optimizer = build_optimizer(recipe, network)
    normalize = Normalize(torch.float64)
    losses = []
    for number, step in enumerate(batches):
        gradients: list[list[Tensor]] = []
        values = []
        for batch in step:
            x, y = network(normalize(batch.view_1), normalize(batch.view_2))
            value = vicreg_loss(x, y)
            gradients.append(list(torch.autograd.grad(value, list(network.parameters()))))
            values.append(value.item())
        for p, *own in zip(network.parameters(), *gradients, strict=True):
            p.grad = torch.stack(list(own)).mean(0)
        # The rate is float32 in a step, which is what torch's kernels take.
        rate = torch.tensor(recipe_learning_rate(recipe, number, STEPS_PER_EPOCH)).item()
        set_learning_rate(optimizer, rate)
        optimizer.step()
        losses.append(sum(values) / len(values))
    return network, losses


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_those_written_out_by_hand(optimizer: str, accumulate: int) -> None:
    recipe = small(optimizer=optimizer, accumulate=accumulate, base_lr=4.0 if optimizer == "lars" else 0.1)
    batches = random_batches(5, accumulate=accumulate)
    step = made(recipe, dtype=torch.float64)
    losses = [float(step(one)[0]) for one in batches]
    expected, expected_losses = by_hand(recipe, batches)
    assert losses == pytest.approx(expected_losses, rel=1e-9)
    for (name, p), q in zip(step.network.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-9, msg=name)
    for (name, p), q in zip(step.network.named_buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-9, msg=name)


def test_terms_are_the_mean_of_the_micro_batches() -> None:
    recipe = small(accumulate=2)
    ((first, second),) = random_batches(1, accumulate=2)
    _, together = made(recipe)([first, second])
    singles = [made(small())([batch])[1] for batch in (first, second)]  # before either is trained on
    for name, value in together._asdict().items():
        mean = sum(float(getattr(single, name)) for single in singles) / 2
        # the second micro-batch of a step meets the same weights as the first
        assert float(value) == pytest.approx(mean, rel=1e-5, abs=1e-6), name


def test_as_many_micro_batches_as_the_recipe_says() -> None:
    with pytest.raises(ValueError, match=r"^1 micro-batches given; accumulate = 2$"):
        made(small(accumulate=2))(random_batches(1)[0])


def test_a_whole_step_of_micro_batches_waits_for_nothing() -> None:
    """tests/loss/test_capture_safety.py has every optimiser."""
    with imagined_cuda():
        recipe = small(accumulate=2)
        step = TrainingStep(recipe, CUDA, steps_per_epoch=STEPS_PER_EPOCH, capture="off")
        first, second = random_batches(2, accumulate=2, device=CUDA)
        step(first)
        with forbid_host_sync():
            loss, terms = step(second)
        assert {value.device for value in (loss, *terms, step.learning_rate, step.step_count)} == {CUDA}
        for group in step.optimizer.param_groups:
            assert group["lr"] is step.learning_rate


def test_a_gpus_step_is_captured_unless_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        def __init__(self, device: torch.device) -> None:
            assert device == CUDA

    monkeypatch.setattr("vicreg_fast.training.step.CudaRecorder", Recorder)
    with imagined_cuda():
        step = TrainingStep(small(), CUDA, steps_per_epoch=1)
        assert step._captured is not None
        assert step.capture_note is None
        assert TrainingStep(small(capture="off"), CUDA, steps_per_epoch=1)._captured is None
        on_host = TrainingStep(small(), CUDA, steps_per_epoch=1, make_optimizer=per_parameter_optimizer)
        assert on_host._captured is None
        reason = (
            "PerParameterLARS takes its learning rate from the host; optimizer=lars, adamw and sgd do not"
        )
        assert on_host.capture_note == f"the step runs eagerly: {reason}"
        with pytest.raises(UsageError) as caught:
            TrainingStep(small(capture="on"), CUDA, steps_per_epoch=1, make_optimizer=per_parameter_optimizer)
        assert str(caught.value) == f"capture = 'on': {reason}; use capture=auto or capture=off"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loaded_step_goes_on_bitwise(optimizer: str) -> None:
    recipe = small(optimizer=optimizer)
    batches = random_batches(6)
    whole = made(recipe)
    for one in batches[:3]:
        whole(one)
    state = copy.deepcopy(whole.state_dict())
    resumed = made(recipe.replace(seed=7))
    resumed.load_state_dict(state)
    assert int(resumed.step_count) == 3
    assert torch.equal(resumed.learning_rate, whole.learning_rate)
    for group in resumed.optimizer.param_groups:
        assert group["lr"] is resumed.learning_rate
    for one in batches[3:]:
        whole(one)
        resumed(one)
        assert torch.equal(resumed.learning_rate, whole.learning_rate)
    for a, b in zip(tensors_of(whole), tensors_of(resumed), strict=True):
        assert torch.equal(a, b)


def test_a_held_rate_of_zero_changes_no_weight() -> None:
    step = made(small(optimizer="sgd"))
    step.hold_learning_rate(0.0)
    before = [p.detach().clone() for p in step.network.parameters()]
    for batches in random_batches(4):
        step(batches)
    assert all(torch.equal(p, old) for p, old in zip(step.network.parameters(), before, strict=True))
    assert int(step.step_count) == 4


def test_names_are_the_bare_networks_whatever_wraps_it() -> None:
    names = build_network(small()).state_dict().keys()
    assert made(small()).network.state_dict().keys() == names
    assert made(small(compile=True)).network.state_dict().keys() == names


def test_a_trace_shows_forward_backward_and_optimizer_in_turn() -> None:
    step = made(small(accumulate=2))
    first, second = random_batches(2, accumulate=2)
    step(first)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step(second)
    ranges = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in profiler.events()
        if event.name in ("forward", "backward", "optimizer")
    )
    assert [name for *_, name in ranges] == ["forward", "backward"] * 2 + ["optimizer"]
    for (_, end, _), (start, _, _) in itertools.pairwise(ranges):
        assert end <= start
