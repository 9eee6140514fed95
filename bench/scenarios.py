"""The scenarios: what each way to pretrain changes of a recipe, and what that became on this machine.

`baseline` is what the official repository does, on torchvision. `tuned` is what a good engineer does with
stock PyTorch. `fast` is ours. All three train the same network on the same data with the same schedule; they
differ in how, never in what.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim

from bench.record import Scenario
from bench.rival_optimizers import per_parameter_optimizer
from bench.rivals import official_loss
from pipelines.factory import default_workers, resolve_pipeline
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegTerms, plan_loss
from vicreg_fast.training.optimizers import build_optimizer
from vicreg_fast.training.step import LossFunction, recipe_loss

SCENARIOS = {
    "baseline": "the official repository's way, on torchvision: PIL transforms in workers, NCHW, eager D×D "
    "loss, one optimiser update a parameter",
    "tuned": "stock PyTorch at its best: channels_last, torch.compile, fused optimiser, official formula",
    "fast": "vicreg-fast: DALI, channels_last, the closed-form loss, fused or foreach optimiser; on a GPU "
    "one CUDA graph",
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A scenario as it will run here."""

    recipe: Recipe
    record: Scenario
    loss: LossFunction
    make_optimizer: Callable[[Recipe, nn.Module], optim.Optimizer]


def build_scenario(name: str, recipe: Recipe, device: torch.device) -> Built:
    """Raises UsageError for an unknown name, or for a recipe whose loss the official code does not have."""
    if name not in SCENARIOS:
        raise UsageError(f"scenario {name!r}: must be one of {', '.join(SCENARIOS)}")
    if recipe.preset != "official" or recipe.gamma != 1.0:
        raise UsageError("bench compares with the authors' code: it needs preset = 'official' and gamma = 1")
    on_gpu = device.type == "cuda"
    notes: list[str] = []
    # A scenario that cannot be captured is to fail, rather than be measured under its name.
    capture = "on" if name == "fast" and on_gpu and recipe.capture != "off" else "off"
    if name == "fast":
        pipeline, reason = resolve_pipeline("auto")
        if reason:
            notes.append(f"torchvision pipeline in place of DALI: {reason}")
        changes: dict[str, object] = {
            "pipeline": pipeline,
            "precision": "bf16" if on_gpu else recipe.precision,
            "channels_last": True,
        }
        if not on_gpu:
            notes.append("the step runs eagerly: CUDA graphs need CUDA")
    elif name == "tuned":
        changes = {
            "pipeline": "torchvision",
            "precision": "bf16" if on_gpu else recipe.precision,
            "channels_last": True,
            "compile": True,
        }
    else:
        changes = {
            "pipeline": "torchvision",
            "precision": "fp16" if on_gpu else "fp32",
            "channels_last": False,
            "compile": False,
        }
    changed = recipe.replace(**changes, capture=capture)
    ours = name == "fast"
    width = recipe.expander_widths[-1]
    rows = recipe.batch_size // recipe.accumulate
    plan = plan_loss(rows, rows, width, torch.float32, device.type)
    return Built(
        recipe=changed,
        record=Scenario(
            name=name,
            description=SCENARIOS[name],
            pipeline=changed.pipeline,
            precision=changed.precision + (" with a loss scaler" if changed.precision == "fp16" else ""),
            memory_format="channels_last (NHWC)" if changed.channels_last else "contiguous (NCHW)",
            loss=f"closed form, {plan.form}, {plan.backend}" if ours else "official formula, eager, D×D",
            optimizer=f"{recipe.optimizer}, {_kernels(recipe, name)}",
            capture=changed.capture,
            compile=changed.compile,
            workers=changed.workers or default_workers(),
            notes=tuple(notes),
        ),
        loss=recipe_loss(changed) if ours else official_with_terms(changed),
        make_optimizer=per_parameter_optimizer if name == "baseline" else build_optimizer,
    )


def official_with_terms(recipe: Recipe) -> LossFunction:
    """The authors' loss with the terms a Trainer logs. The loss alone is computed; like theirs, it reports no
    terms."""

    def loss(x: Tensor, y: Tensor) -> tuple[Tensor, VICRegTerms]:
        value = official_loss(
            x,
            y,
            invariance_weight=recipe.invariance_weight,
            variance_weight=recipe.variance_weight,
            covariance_weight=recipe.covariance_weight,
        )
        missing = torch.full((), torch.nan, device=value.device)
        return value, VICRegTerms(*([missing] * len(VICRegTerms._fields)))

    return loss


def _kernels(recipe: Recipe, scenario: str) -> str:
    if scenario == "baseline":
        return "one parameter at a time"
    return "foreach" if recipe.optimizer == "lars" else "fused"
