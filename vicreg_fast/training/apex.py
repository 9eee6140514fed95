"""NVIDIA's apex, an optional package: whether it is here, and its fused optimisers.

It is known by its compiled module, `amp_C`. The package index's `apex` is an unrelated toolkit for Pyramid,
which is what `pip install apex` brings.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
from torch import optim

from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError

BUILD = "build NVIDIA's with its options cpp_ext and cuda_ext, as https://github.com/NVIDIA/apex says"
_CLASSES = {"apex-fusedsgd": "FusedSGD", "apex-fusedlamb": "FusedLAMB"}


def find_apex() -> Literal["kernels", "python-only", "another", "missing"]:
    """NVIDIA's with its kernels, NVIDIA's without them, another package of the name, or none. Imports nothing
    of it."""
    if importlib.util.find_spec("amp_C") is not None:
        return "kernels"
    found = importlib.util.find_spec("apex")
    if found is None:
        return "missing"
    folders = found.submodule_search_locations or ()
    return "python-only" if any((Path(folder) / "optimizers").is_dir() for folder in folders) else "another"


def build_apex_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> optim.Optimizer:
    """`recipe.optimizer`, apex's, over parameter groups on a CUDA device. FusedLAMB keeps apex's own betas
    and clipping. Its kernels take the learning rate as a number.

    Raises UsageError where the parameters are on another device, or NVIDIA's apex or its kernels are missing.
    """
    asked = f"optimizer = {recipe.optimizer!r}"
    device: torch.device = groups[0]["params"][0].device
    if device.type != "cuda":
        raise UsageError(f"{asked} needs CUDA; on {device.type} use optimizer=lars, adamw or sgd")
    found = find_apex()
    if found == "missing":
        raise UsageError(f"{asked} needs NVIDIA's apex, which is not installed: {BUILD}")
    if found == "another":
        raise UsageError(
            f"{asked} needs NVIDIA's apex, and the apex that is installed is another package, the package "
            f"index's toolkit for Pyramid: uninstall it, and {BUILD}"
        )
    if found == "python-only":
        raise UsageError(f"{asked} needs the kernels of NVIDIA's apex, which was built without them: {BUILD}")
    make = getattr(importlib.import_module("apex.optimizers"), _CLASSES[recipe.optimizer])
    options = {"momentum": recipe.momentum} if recipe.optimizer == "apex-fusedsgd" else {}
    made: optim.Optimizer = make(groups, lr=0.0, **options)
    return made
