"""The scenarios: what each way to pretrain changes of a recipe, and what that became on this machine.

`baseline` is what the official repository does, on torchvision; `plain` is the same in fp32. `tuned` is what
a good engineer does with stock PyTorch. `fast` is ours. `bench.changes` says what lies between them. All
train the same network on the same data with the same schedule; they differ in how, never in what. `tuned` and
`fast` have the recipe's precision, so that what lies between them is not that.
"""

import os
import shlex
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim

from bench.changes import CHANGES, named_changes, parse_name, plan_ladder, scenario_changes
from bench.ladder_record import LadderRung
from bench.record import Scenario
from bench.rival_optimizers import per_parameter_optimizer, require_per_parameter
from bench.rivals import official_loss
from pipelines.factory import default_workers, resolve_pipeline
from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegTerms, plan_loss
from vicreg_fast.training.allocator import keep_obstacle
from vicreg_fast.training.apex import find_apex
from vicreg_fast.training.optimizers import build_optimizer
from vicreg_fast.training.parallel_views import parallel_obstacle
from vicreg_fast.training.precision import choose_precision
from vicreg_fast.training.step import LossFunction, recipe_loss

SCENARIOS = {
    "plain": "the official repository's way in fp32, on torchvision",
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
    """The scenario of a name (`bench.changes`) for a recipe. Raises UsageError for a name that means nothing
    here, and for a recipe whose loss or optimiser the official code does not have, or whose precision the
    device does not."""
    base, _ = parse_name(name)
    if recipe.preset != "official" or recipe.gamma != 1.0:
        raise UsageError("bench compares with the authors' code: it needs preset = 'official' and gamma = 1")
    on_gpu = device.type == "cuda"
    obstacles = find_obstacles(named_changes(name), recipe, device)
    changes = scenario_changes(name, obstacles=obstacles, compiles=recipe.compile)
    notes: list[str] = []
    if base == "fast" and "dali" in obstacles:
        notes.append(f"torchvision pipeline in place of DALI: {obstacles['dali']}")
    if base == "fast" and not on_gpu:
        notes.append("the step runs eagerly: CUDA graphs need CUDA")
    if "parallel_views" in changes and "compile" not in changes:
        notes.append(f"both views at once, on {torch.get_num_threads() // 2} of the threads each")
    precision = "fp16" if on_gpu and base == "baseline" else "fp32"
    if "amp" in changes:
        precision, why = choose_precision(recipe.precision, device)
        notes.append(f"{precision}: {why}")
    elif "amp" in obstacles:
        notes.append(f"{precision}: {obstacles['amp']}")
    if "apex" in changes:
        recipe = recipe.replace(optimizer="apex-fusedsgd")
    changed = recipe.replace(
        pipeline="dali" if "dali" in changes else "torchvision",
        precision=precision,
        channels_last="channels_last" in changes,
        compile="compile" in changes,
        parallel_views="auto" if "parallel_views" in changes else "off",
        keep_memory="auto" if "keep_memory" in changes else "off",
        # A scenario that cannot be captured is to fail, rather than be measured under its name.
        capture="on" if "capture" in changes else "off",
    )
    closed_form, kernels = "fused_loss" in changes, bool({"foreach", "apex"} & changes)
    if not kernels:
        require_per_parameter(recipe)
    width = recipe.expander_widths[-1]
    rows = recipe.batch_size // recipe.accumulate
    plan = plan_loss(rows, rows, width, torch.float32, device.type)
    return Built(
        recipe=changed,
        record=Scenario(
            name=name,
            description=_description(name, base, changes),
            pipeline=changed.pipeline,
            precision=changed.precision + (" with a loss scaler" if changed.precision == "fp16" else ""),
            memory_format="channels_last (NHWC)" if changed.channels_last else "contiguous (NCHW)",
            loss=f"closed form, {plan.form}, {plan.backend}"
            if closed_form
            else "official formula, eager, D×D",
            optimizer=f"{recipe.optimizer}, {_kernels(recipe) if kernels else 'one parameter at a time'}",
            capture=changed.capture,
            compile=changed.compile,
            workers=changed.workers or default_workers(),
            notes=tuple(notes),
        ),
        loss=recipe_loss(changed) if closed_form else official_with_terms(changed),
        make_optimizer=build_optimizer if kernels else per_parameter_optimizer,
    )


def find_obstacles(changes: Collection[str], recipe: Recipe, device: torch.device) -> dict[str, str]:
    """Those of the changes that this machine, recipe or install cannot make, each with why."""
    obstacles = {}
    on_gpu = device.type == "cuda"
    precision, why = choose_precision(recipe.precision, device)
    if precision == "fp32":
        obstacles["amp"] = why
    # Asked only where it matters: a process that has imported DALI is larger than one that has not.
    if "dali" in changes and (reason := resolve_pipeline("auto", device.type)[1]):
        obstacles["dali"] = reason
    if not on_gpu:
        obstacles["capture"] = "needs CUDA"
    elif recipe.capture == "off":
        obstacles["capture"] = "the recipe has capture = 'off'"
    if (reason := parallel_obstacle(device)) is not None:
        obstacles["parallel_views"] = reason
    if (reason := keep_obstacle(device)) is not None:
        obstacles["keep_memory"] = reason
    if (reason := compiler_obstacle(device.type)) is not None:
        obstacles["compile"] = reason
    if (reason := _apex_obstacle(on_gpu)) is not None:
        obstacles["apex"] = reason
    return {change: why for change, why in obstacles.items() if change in changes}


def compiler_obstacle(device: str) -> str | None:
    """Why torch.compile cannot compile for `cuda` or `cpu` here; None where it can."""
    on_gpu = device == "cuda"
    if _has_compiler("CC" if on_gpu else "CXX", ("gcc", "clang") if on_gpu else ("g++",)):
        return None
    return "torch.compile finds no compiler"


def recipe_ladder(recipe: Recipe, device: torch.device) -> tuple[LadderRung, ...]:
    """The rungs from `plain` to `fast` for this recipe on this device."""
    obstacles = find_obstacles(CHANGES, recipe, device)
    fast = scenario_changes("fast", obstacles=obstacles, compiles=recipe.compile)
    return plan_ladder(fast, obstacles)


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


def _apex_obstacle(on_gpu: bool) -> str | None:
    if not on_gpu:
        return "needs CUDA"
    return None if find_apex() == "kernels" else "NVIDIA's apex is not here, or has no kernels"


def _kernels(recipe: Recipe) -> str:
    return "foreach" if recipe.optimizer == "lars" else "fused"


def _has_compiler(variable: str, usual: tuple[str, ...]) -> bool:
    """C++ for what torch.compile makes on a CPU, C for how Triton starts its kernels on a GPU."""
    named = os.environ.get(variable)
    return any(shutil.which(name) for name in ((shlex.split(named) or usual)[:1] if named else usual))


def _description(name: str, base: str, changes: frozenset[str]) -> str:
    if name == base:
        return SCENARIOS[base]
    made = "; ".join(words for change, words in CHANGES.items() if change in changes)
    return f"the official repository's way{' in fp32' * (base != 'baseline')}, with: {made or 'no change'}"
