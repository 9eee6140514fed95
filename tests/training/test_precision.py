"""What `precision = "auto"` is on machines of every kind, and that bf16 is right on all of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.environment import measure_environment
from bench.scenarios import official_with_terms
from pipelines.manifest import Manifest
from tests.training.runs import run
from tests.training.steps import STEPS_PER_EPOCH, random_batches, small
from vicreg_fast.config import Recipe
from vicreg_fast.errors import CheckpointError, UsageError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.loss.reference import vicreg_reference
from vicreg_fast.training import precision as module
from vicreg_fast.training.checkpoint import load_checkpoint
from vicreg_fast.training.lars import LARS
from vicreg_fast.training.loop import Trainer
from vicreg_fast.training.precision import NO_BF16, choose_precision, resolve_precision
from vicreg_fast.training.step import TrainingStep

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
CAN, CANNOT = {"avx512_bf16": True}, {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture(autouse=True)
def _bf16_is_not_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NO_BF16, raising=False)


def machine(patch: pytest.MonkeyPatch, capabilities: dict[str, Any], *, onednn: bool = True) -> None:
    """A CPU of these capabilities, with a torch of today."""
    patch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    patch.setattr(module, "_onednn_takes_bf16", lambda: onednn)


@pytest.mark.parametrize(
    ("capabilities", "onednn", "expected"),
    [
        (CAN, True, ("bf16", "this CPU multiplies bf16 (AVX512_BF16)")),
        (CAN | {"amx_tile": True, "amx_bf16": True}, True, ("bf16", "this CPU multiplies bf16 (AMX)")),
        ({"neon": True, "bf16": True}, True, ("bf16", "this CPU multiplies bf16 (Arm BF16)")),
        ({"sve": True, "sve_bf16": True}, True, ("bf16", "this CPU multiplies bf16 (SVE BF16)")),
        # oneDNN says yes on every CPU with AVX-512.
        (CANNOT, True, ("fp32", "this CPU does not multiply bf16")),
        ({"sve": True, "bf16": False}, False, ("fp32", "this CPU does not multiply bf16")),
        (
            {"neon": True, "bf16": True},
            False,
            ("fp32", "this CPU multiplies bf16 (Arm BF16), but this torch's oneDNN does not use it"),
        ),
    ],
)
def test_a_cpu_has_bf16_where_its_instructions_and_onednn_agree(
    capabilities: dict[str, Any], onednn: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, capabilities, onednn=onednn)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("processor", "functions", "onednn", "expected"),
    [
        ("x86_64", {"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": True}, True, "bf16"),
        ("x86_64", {"_is_avx512_bf16_supported": True}, True, "bf16"),
        ("x86_64", {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, True, "fp32"),
        ("x86_64", {}, True, "fp32"),
        ("aarch64", {"_is_avx512_bf16_supported": False}, True, "bf16"),
        ("arm64", {}, False, "fp32"),
        ("ppc64le", {}, True, "fp32"),
    ],
)
def test_an_older_torch_is_asked_by_the_functions_that_it_has(
    processor: str,
    functions: dict[str, bool],
    onednn: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = SimpleNamespace(**{name: (lambda found=found: found) for name, found in functions.items()})
    monkeypatch.setattr(torch, "cpu", older)
    monkeypatch.setattr("platform.machine", lambda: processor)
    monkeypatch.setattr(module, "_onednn_takes_bf16", lambda: onednn)
    assert choose_precision("auto", CPU)[0] == expected


def test_this_torch_answers_on_this_machine() -> None:
    """Whatever it says: none of the names that are asked for is gone."""
    assert isinstance(module._onednn_takes_bf16(), bool)
    capabilities = module._cpu_capabilities()
    x86 = capabilities.get("architecture") == "x86_64"
    assert not x86 or {"avx512_bf16", "amx_bf16"} <= capabilities.keys()
    precision, why = choose_precision("auto", CPU)
    assert precision == ("bf16" if why.startswith("this CPU multiplies bf16") else "fp32")


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_has_bf16_where_it_is_not_emulated(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class On:
        def __init__(self, device: torch.device) -> None:
            asked.append(device)

        __enter__ = __exit__ = lambda *_: None

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", On)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation
    )
    expected = ("bf16", "this GPU multiplies bf16") if native else ("fp32", "this GPU does not multiply bf16")
    assert choose_precision("auto", CUDA) == expected
    assert asked == [CUDA]


def test_any_other_device_has_fp32() -> None:
    assert choose_precision("auto", torch.device("meta"))[0] == "fp32"


@pytest.mark.parametrize(("value", "off"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_a_variable_makes_any_machine_one_without(
    value: str, off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, CAN)
    monkeypatch.setattr(module, "_gpu_multiplies_bf16", lambda _: True)
    monkeypatch.setenv(NO_BF16, value)
    for device in (CPU, CUDA):
        found = choose_precision("auto", device)
        assert found[0] == ("fp32" if off else "bf16")
        assert not off or found[1] == f"{NO_BF16} is set"
        assert choose_precision("bf16", device)[0] == "bf16"  # only auto looks at it
    assert measure_environment().environment_variables[NO_BF16] == value


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_is_taken(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities in (CAN, CANNOT):
        machine(monkeypatch, capabilities)
        assert choose_precision(asked, CPU) == (asked, f"the recipe has precision = {asked!r}")
    assert choose_precision("fp16", CUDA)[0] == "fp16"
    with pytest.raises(UsageError, match="precision = 'fp16' needs CUDA; on cpu use precision=auto, bf16"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("capabilities", "expected"), [(CAN, "bf16"), (CANNOT, "fp32")])
def test_a_step_resolves_auto_itself(
    capabilities: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, capabilities)
    auto = TrainingStep(small(precision="auto"), CPU, steps_per_epoch=STEPS_PER_EPOCH)
    asked = TrainingStep(small(precision=expected), CPU, steps_per_epoch=STEPS_PER_EPOCH)
    assert auto.recipe == asked.recipe
    batch = random_batches(1)[0]
    assert torch.equal(auto(batch)[0], asked(batch)[0])


def trained_in(path: Path) -> str:
    precision: str = load_checkpoint(path / "checkpoint.pt")["recipe"]["precision"]
    return precision


@pytest.mark.parametrize(
    ("first", "second", "expected"), [(CAN, CANNOT, "bf16"), (CANNOT, CAN, "fp32")], ids=["bf16", "fp32"]
)
def test_a_run_keeps_its_precision_on_whatever_machine_resumes_it(
    first: dict[str, Any],
    second: dict[str, Any],
    expected: str,
    tiny: Recipe,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auto = tiny.replace(precision="auto", max_steps=4)
    machine(monkeypatch, first)
    begun = run(auto, manifest, tmp_path / "run", stop_at=2)
    assert (begun.recipe.precision, begun.precision_why) == choose_precision("auto", CPU)
    assert trained_in(tmp_path / "run") == expected
    machine(monkeypatch, second)
    assert choose_precision("auto", CPU)[0] != expected
    resumed = run(auto, manifest, tmp_path / "run")
    assert (resumed.step, resumed.recipe.precision) == (4, expected)
    assert resumed.precision_why == "the run began with it"
    assert trained_in(tmp_path / "run") == expected
    whole = run(tiny.replace(precision=expected, max_steps=4), manifest, tmp_path / "whole")
    ours, wanted = (t.train_step.network.state_dict() for t in (resumed, whole))
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_another_precision_asked_for_on_resume_is_refused(
    tiny: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    run(tiny.replace(precision="bf16", max_steps=2), manifest, tmp_path / "run", stop_at=1)
    with pytest.raises(CheckpointError, match="was trained with precision = 'bf16', not 'fp32'"):
        run(tiny.replace(precision="fp32", max_steps=2), manifest, tmp_path / "run")
    assert run(tiny.replace(precision="auto", max_steps=2), manifest, tmp_path / "run").step == 2


def test_a_trainer_holds_what_it_trains_in(
    tiny: Recipe, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, CAN)
    auto = tiny.replace(precision="auto")
    trainer = Trainer(auto, manifest, CPU)
    try:
        assert trainer.recipe == trainer.train_step.recipe == resolve_precision(auto, CPU)[0]
        assert trainer.recipe.precision == "bf16"
        assert trainer.precision_why == "this CPU multiplies bf16 (AVX512_BF16)"
    finally:
        trainer.close()


def oracle(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
    """In float64, which autocast leaves alone."""
    loss = vicreg_reference(x.double(), y.double())
    assert isinstance(loss, Tensor)
    return loss, VICRegTerms(*[torch.full((), torch.nan)] * len(VICRegTerms._fields))


def loss_and_gradient(recipe: Recipe, **options: Any) -> tuple[float, Tensor]:
    step = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH, **options)
    loss, _ = step(random_batches(1, n=recipe.batch_size)[0])
    gradients = [p.grad for p in step.network.parameters() if p.grad is not None]
    assert len(gradients) == len(list(step.network.parameters()))
    return float(loss), torch.cat([g.double().flatten() for g in gradients])


def errors_of(recipe: Recipe, wanted: tuple[float, Tensor], loss: Any) -> Tensor:
    """(2): of the loss and of the gradient of all weights, relative."""
    value, gradient = loss_and_gradient(recipe, loss=loss)
    apart = (gradient - wanted[1]).norm() / wanted[1].norm()
    return torch.tensor([abs(value - wanted[0]) / abs(wanted[0]), float(apart)])


@pytest.mark.parametrize("forward", ["separate", "joint"])
def test_the_error_of_a_bf16_step_is_earned(forward: str) -> None:
    """At most twice the plain formula's under the same autocast, plus 1e-6: beside the same network in bf16
    with its loss in float64, which shows the loss's own error, and beside all of it in float64, where the
    network's is in both. There the two errors of a value may cancel, so it is the root of their mean square
    over some seeds."""
    whole: dict[str, list[Tensor]] = {"ours": [], "plain": []}
    for seed in range(4):
        recipe = small(precision="bf16", forward=forward, batch_size=32, seed=seed)
        losses = {"ours": None, "plain": official_with_terms(recipe)}
        same_network = loss_and_gradient(recipe, loss=oracle)
        own = {name: errors_of(recipe, same_network, loss) for name, loss in losses.items()}
        assert (own["ours"] <= 2 * own["plain"] + 1e-6).all(), (seed, own)
        exact = loss_and_gradient(recipe.replace(precision="fp32"), dtype=torch.float64, loss=oracle)
        for name, loss in losses.items():
            whole[name].append(errors_of(recipe, exact, loss))
    ours, plain = (torch.stack(errors).square().mean(0).sqrt() for errors in whole.values())
    assert ours[1] > 1e-4, "it is bf16"
    assert (ours <= 2 * plain + 1e-6).all(), (ours, plain)


def test_statistics_weights_and_what_lars_keeps_are_float32_in_a_bf16_step() -> None:
    recipe = small(precision="bf16", batch_size=32)
    step = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH)
    norm = step.network.backbone.bn1
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    step(random_batches(1, n=32)[0])
    assert {x.dtype for x in seen} == {torch.bfloat16}
    assert isinstance(step.optimizer, LARS)
    momenta = [state["mu"] for state in step.optimizer.state.values()]
    kept = [*step.network.parameters(), *step.network.buffers(), *momenta]
    kept += [p.grad for p in step.network.parameters() if p.grad is not None]
    assert {t.dtype for t in kept if t.is_floating_point()} == {torch.float32}
    # Of 8192 values a channel, which bf16 would lose in the sum.
    mean, var = torch.zeros(norm.num_features).double(), torch.ones(norm.num_features).double()
    for x in seen:
        channel = x.double().transpose(0, 1).flatten(1)
        mean, var = 0.9 * mean + 0.1 * channel.mean(1), 0.9 * var + 0.1 * channel.var(1)
    for found, wanted in ((norm.running_mean, mean), (norm.running_var, var)):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


class _Conversions(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes (shape, from, to) of every tensor that is given another dtype, and every change of layout."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[tuple[tuple[int, ...], torch.dtype, torch.dtype]] = []
        self.layouts: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "clone", "copy_") and args[0].ndim > 1:
            source, result = (args[1], args[0]) if name == "copy_" else (args[0], found)
            if source.dtype != result.dtype:
                self.dtypes.append((tuple(source.shape), source.dtype, result.dtype))
            elif source.ndim == 4 and source.stride() != result.stride():
                self.layouts.append(tuple(source.shape))
        return found


def test_a_bf16_step_converts_each_weight_and_each_image_once_and_no_activation() -> None:
    """One autocast holds both views: a weight is rounded once for the two, and its gradient widened once."""
    recipe = small(precision="bf16", batch_size=32)
    step = TrainingStep(recipe, CPU, steps_per_epoch=STEPS_PER_EPOCH)
    (batch,) = random_batches(1, n=32)[0]
    x, y = (view.contiguous(memory_format=torch.channels_last) for view in (batch.view_1, batch.view_2))
    batches = [batch._replace(view_1=x, view_2=y)]
    step(batches)
    with _Conversions() as seen:
        step(batches)
    weights = [tuple(m.weight.shape) for m in step.network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    narrowed = sorted(shape for shape, source, _ in seen.dtypes if source == torch.float32)
    images = [(32, 3, 16, 16)] * 2
    in_double = [shape for shape, _, to in seen.dtypes if to == torch.float64]  # the loss's few sums
    assert narrowed == sorted([*weights, *images, *in_double])
    assert all(shape[0] <= 2 for shape in in_double)
    widened = sorted(shape for shape, source, to in seen.dtypes if source == torch.bfloat16)
    assert widened == sorted([*weights, (32, 24)])  # and the embeddings, one view's or both
    assert seen.layouts == []
