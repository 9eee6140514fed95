"""What `precision = "auto"` means on a device: bf16 where the hardware multiplies it, fp32 elsewhere.

torch is asked which instructions there are, never what the processor is called. On a CPU two answers have to
agree. The instructions alone do not do: a torch without oneDNN multiplies bf16 by loops, hundreds of times as
slowly as fp32. Nor does oneDNN's own "bf16 is supported": it is true of every CPU with AVX-512, most of which
only emulate it.
"""

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from vicreg_fast.config import Recipe
from vicreg_fast.errors import UsageError

NO_BF16 = "VICREG_FAST_NO_BF16"
"""The environment variable that makes any machine one without bf16, unless it is empty or 0."""

INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX512_BF16",
    "sve_bf16": "SVE BF16",
    "bf16": "Arm BF16",
}
"""torch's names of those that multiply bf16, and how a reader knows them; best first."""


def choose_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """What a recipe's `precision` is on that device, `fp32`, `bf16` or `fp16`, and why in one clause.

    Raises UsageError for fp16 where there is no CUDA. bf16 that is asked for is computed on any device.
    """
    if asked == "fp16" and device.type != "cuda":
        raise UsageError(f"precision = 'fp16' needs CUDA; on {device.type} use precision=auto, bf16 or fp32")
    if asked != "auto":
        return asked, f"the recipe has precision = {asked!r}"
    if os.environ.get(NO_BF16, "0") not in ("", "0"):
        return "fp32", f"{NO_BF16} is set"
    if device.type == "cuda":
        if _gpu_multiplies_bf16(device):
            return "bf16", "this GPU multiplies bf16"
        return "fp32", "this GPU does not multiply bf16"
    if device.type != "cpu":
        return "fp32", f"bf16 was never tried on {device.type}"
    found = next((name for key, name in INSTRUCTIONS.items() if _cpu_capabilities().get(key)), None)
    if found is None:
        return "fp32", "this CPU does not multiply bf16"
    if not _onednn_takes_bf16():
        return "fp32", f"this CPU multiplies bf16 ({found}), but this torch's oneDNN does not use it"
    return "bf16", f"this CPU multiplies bf16 ({found})"


def resolve_precision(recipe: Recipe, device: torch.device) -> tuple[Recipe, str]:
    """The recipe with the precision that it has on that device, and why. Raises as `choose_precision`."""
    precision, why = choose_precision(recipe.precision, device)
    return (recipe if precision == recipe.precision else recipe.replace(precision=precision)), why


def _gpu_multiplies_bf16(device: torch.device) -> bool:
    if not torch.cuda.is_available():
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_capabilities() -> Mapping[str, Any]:
    """As `torch.cpu.get_capabilities` has them, which older versions do not have."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    if platform.machine().lower() in ("aarch64", "arm64"):
        return {"bf16": _onednn_takes_bf16()}  # there oneDNN does not emulate it
    older = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return {key: getattr(torch.cpu, name, lambda: False)() for key, name in older.items()}


def _onednn_takes_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
