"""When a step is captured, what a replay does, and what happens where it cannot be.

Without a GPU a tape takes the graph's place, which repeats a step's operators without any Python of the step.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from tests.training.steps import STEPS_PER_EPOCH, random_batches, small, tensors_of
from tests.training.tape import GuardingRecorder, TapeRecorder
from vicreg_fast.config import Recipe
from vicreg_fast.distributed import SINGLE, Ranks
from vicreg_fast.errors import TrainingError, UsageError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training.capture import (
    WARMUP_STEPS,
    WARMUP_STEPS_OF_RANKS,
    CapturedStep,
    capture_obstacle,
)
from vicreg_fast.training.capture_guard import forbid_host_sync, imagined_cuda
from vicreg_fast.training.lars import LARS
from vicreg_fast.training.step import TrainingStep, recipe_loss

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
OPTIMIZERS = ["lars", "adamw", "sgd"]


def taped(recipe: Recipe, **options: Any) -> tuple[TrainingStep, TapeRecorder]:
    recorder = TapeRecorder()
    step = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH, recorder=recorder, **options)
    recorder.tensors = lambda: tensors_of(step)
    return step, recorder


def eager(recipe: Recipe) -> TrainingStep:
    return TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH, capture="off")


def same(step: TrainingStep, other: TrainingStep) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors_of(step), tensors_of(other), strict=True))


@pytest.mark.parametrize(("optimizer", "accumulate"), [("lars", 1), ("lars", 2), ("adamw", 1), ("sgd", 1)])
def test_warmed_up_then_captured_then_replayed_is_eager(optimizer: str, accumulate: int) -> None:
    """Through warm-up and cosine: a rate that the recording had kept would show."""
    recipe = small(optimizer=optimizer, accumulate=accumulate, base_lr=4.0 if optimizer == "lars" else 0.1)
    (step, recorder), reference = taped(recipe), eager(recipe)
    for number, batches in enumerate(random_batches(9, accumulate=accumulate)):
        assert step.steps_before_replay == max(0, WARMUP_STEPS - number)
        outcome, expected = step(batches), reference(batches)
        assert torch.equal(torch.stack([outcome[0], *outcome[1]]), torch.stack([expected[0], *expected[1]]))
        assert torch.equal(step.learning_rate, reference.learning_rate)
        assert recorder.eager == min(number + 1, WARMUP_STEPS)
        assert recorder.recorded == (number >= WARMUP_STEPS)
        assert recorder.replayed == max(0, number + 1 - WARMUP_STEPS)
    assert step.capture_note is None
    assert int(step.step_count) == 9
    assert same(step, reference)


def test_the_next_replay_does_not_write_over_what_was_returned() -> None:
    step, _ = taped(small())
    outcomes = [step(batches) for batches in random_batches(6)]
    losses = [float(loss) for loss, _ in outcomes]
    assert len(set(losses)) == 6
    stds = [float(terms.std_mean) for _, terms in outcomes]
    assert len(set(stds)) == 6
    assert not any(value.requires_grad for loss, terms in outcomes for value in (loss, *terms))


def test_a_held_rate_reaches_a_step_that_is_captured() -> None:
    step, recorder = taped(small())
    batches = random_batches(6)
    for one in batches[:5]:
        step(one)
    before = [p.detach().clone() for p in step.network.parameters()]
    step.hold_learning_rate(0.0)
    step(batches[5])
    assert recorder.replayed == 3
    assert float(step.learning_rate) == 0.0
    assert all(torch.equal(p, old) for p, old in zip(step.network.parameters(), before, strict=True))


@pytest.mark.parametrize("optimizer", ["lars", "adamw"])
def test_a_loaded_step_is_captured_anew(optimizer: str) -> None:
    """The tape of before has the tensors of before, which the optimiser then has no more."""
    recipe = small(optimizer=optimizer)
    (step, recorder), reference = taped(recipe), eager(recipe)
    batches = random_batches(10)
    for one in batches[:5]:
        step(one)
        reference(one)
    other = eager(recipe)
    for loaded in (other, step):  # an optimiser takes the tensors that it is given for its own
        loaded.load_state_dict(copy.deepcopy(reference.state_dict()))
    for one in batches[5:]:
        step(one)
        other(one)
    assert recorder.recorded == 2
    assert recorder.eager == 2 * WARMUP_STEPS
    assert same(step, other)


def breaking(recipe: Recipe, at: str) -> tuple[TrainingStep, TapeRecorder]:
    """A step that cannot be recorded, for what its loss does in the forward or in the backward."""
    inner = recipe_loss(recipe)

    def fail(_: Any) -> None:
        if recorder.recording:
            raise RuntimeError("it is of no use\nhere")

    def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
        if at == "forward":
            fail(None)
        else:
            x.register_hook(fail)
        return inner(x, y)

    step, recorder = taped(recipe, loss=loss)
    return step, recorder


@pytest.mark.parametrize("at", ["forward", "backward"])
def test_a_failed_capture_is_told_once_and_the_step_goes_on_from_where_it_was(at: str) -> None:
    recipe = small()
    (step, recorder), reference = breaking(recipe, at), eager(recipe)
    for number, batches in enumerate(random_batches(6)):
        assert (step.capture_note is not None) == (number > WARMUP_STEPS)
        step(batches)
        reference(batches)
    assert step.capture_note == "the step runs eagerly: its capture failed (it is of no use)"
    assert (recorder.eager, recorder.recorded, recorder.replayed) == (6, 1, 0)
    assert same(step, reference)


def test_a_failed_capture_stops_the_run_that_requires_one() -> None:
    step, _ = breaking(small(capture="on"), "forward")
    *warmup, last = random_batches(WARMUP_STEPS + 1)
    for batches in warmup:
        step(batches)
    with pytest.raises(TrainingError, match=r"^capture = 'on', and the capture of the step failed \(it is "):
        step(last)


def test_ranks_warm_up_longer() -> None:
    recorder = TapeRecorder()
    zero = torch.zeros(())
    step = CapturedStep(
        lambda _: (zero, VICRegTerms(*[zero] * len(VICRegTerms._fields))),
        CPU,
        recorder,
        ranks=Ranks(rank=0, world_size=2),
        required=True,
        release=lambda: None,
        recover=lambda: None,
    )
    for batches in random_batches(WARMUP_STEPS_OF_RANKS + 2):
        step(batches)
    assert (recorder.eager, recorder.recorded, recorder.replayed) == (WARMUP_STEPS_OF_RANKS, 1, 2)


def test_batches_of_another_shape_are_refused() -> None:
    step, _ = taped(small())
    step(random_batches(1)[0])
    with pytest.raises(ValueError, match=r"^a view is \(1, 3, 16, 16\) torch.uint8, where the step was made"):
        step(random_batches(1, n=1)[0])


def test_the_buffers_keep_the_views_layout() -> None:
    seen: list[Tensor] = []
    recorder = TapeRecorder()
    zero = torch.zeros(())

    def train(batches: Any) -> tuple[Tensor, VICRegTerms]:
        seen.extend(view for views in batches for view in views)
        return zero, VICRegTerms(*[zero] * len(VICRegTerms._fields))

    step = CapturedStep(
        train,
        CPU,
        recorder,
        ranks=SINGLE,
        required=True,
        release=lambda: None,
        recover=lambda: None,
    )
    ((batch,),) = random_batches(1)
    nhwc = batch._replace(view_1=batch.view_1.contiguous(memory_format=torch.channels_last))
    step([nhwc])
    assert seen[0].stride() == nhwc.view_1.stride()
    assert seen[1].stride() == nhwc.view_2.stride()
    assert torch.equal(seen[0], batch.view_1)


def test_batches_of_the_host_are_copied_before_what_is_captured() -> None:
    with imagined_cuda():
        recorder = GuardingRecorder()
        step = TrainingStep(small(capture="on"), CUDA, steps_per_epoch=STEPS_PER_EPOCH, recorder=recorder)
        for batches in random_batches(WARMUP_STEPS + 2):
            assert batches[0].view_1.device == CPU
            loss, _ = step(batches)
        assert (recorder.eager, recorder.recorded) == (WARMUP_STEPS, 1)
        assert loss.device == CUDA


def test_a_cpu_has_no_capture() -> None:
    step = TrainingStep(small(), CPU, steps_per_epoch=1)
    assert step.capture_note is None
    with pytest.raises(UsageError) as caught:
        TrainingStep(small(capture="on"), CPU, steps_per_epoch=1)
    assert str(caught.value) == (
        "capture = 'on': CUDA graphs need CUDA, and the device is cpu; use capture=auto or capture=off"
    )
    assert TrainingStep(small(capture="on"), CPU, steps_per_epoch=1, capture="auto").capture_note is None


def test_what_cannot_be_captured_on_a_gpu() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    lars, fused = LARS([weight], lr=0.0), optim.SGD([weight], fused=True)
    literal = optim.SGD([weight], foreach=False)
    assert capture_obstacle(small(), CUDA, lars) is None
    assert capture_obstacle(small(), CUDA, fused) is None
    assert capture_obstacle(small(precision="fp16"), CUDA, fused) is None
    scaled = capture_obstacle(small(precision="fp16"), CUDA, lars)
    assert scaled is not None
    assert scaled.startswith("with LARS the loss scaler of precision=fp16 waits for the device each step; ")
    assert "\n" not in scaled
    on_host = capture_obstacle(small(), CUDA, literal)
    assert on_host == "SGD takes its learning rate from the host; optimizer=lars, adamw and sgd do not"


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    ("optimizer", "accumulate", "compiled"),
    [
        *((optimizer, accumulate, False) for optimizer in OPTIMIZERS for accumulate in (1, 2)),
        ("lars", 1, True),
    ],
)
def test_captured_is_eager_on_a_gpu(optimizer: str, accumulate: int, compiled: bool) -> None:
    recipe = small(
        optimizer=optimizer,
        accumulate=accumulate,
        compile=compiled,
        base_lr=4.0 if optimizer == "lars" else 0.01,
    )
    captured, reference = (
        TrainingStep(recipe, CUDA, steps_per_epoch=STEPS_PER_EPOCH, capture=how) for how in ("on", "off")
    )
    for number, batches in enumerate(random_batches(9, accumulate=accumulate, device=CUDA)):
        expected = reference(batches)
        if number > WARMUP_STEPS:
            with forbid_host_sync():
                outcome = captured(batches)
        else:
            outcome = captured(batches)
        torch.testing.assert_close(outcome[0], expected[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(captured.learning_rate, reference.learning_rate)
    for a, b in zip(tensors_of(captured), tensors_of(reference), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_captured_under_autocast_on_a_gpu(precision: str) -> None:
    recipe = small(optimizer="adamw", precision=precision, base_lr=0.01)
    step = TrainingStep(recipe, CUDA, steps_per_epoch=STEPS_PER_EPOCH, capture="on")
    losses = torch.stack([step(batches)[0] for batches in random_batches(8, device=CUDA)])
    assert losses.isfinite().all()
    assert losses.unique().numel() == 8
    assert int(step.step_count) == 8


@pytest.mark.gpu
@needs_cuda
def test_a_capture_that_fails_on_a_gpu_is_told_of() -> None:
    recipe = small()
    inner = recipe_loss(recipe)

    def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
        value, terms = inner(x, y)
        value.item()
        return value, terms

    step = TrainingStep(recipe, CUDA, steps_per_epoch=STEPS_PER_EPOCH, loss=loss)
    reference = TrainingStep(recipe, CUDA, steps_per_epoch=STEPS_PER_EPOCH, loss=loss, capture="off")
    for batches in random_batches(6, device=CUDA):
        step(batches)
        reference(batches)
    assert step.capture_note is not None
    assert step.capture_note.startswith("the step runs eagerly: its capture failed (")
    for a, b in zip(tensors_of(step), tensors_of(reference), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
