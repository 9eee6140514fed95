"""Which back end, and the pipeline it makes."""

import os
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

from pipelines.contract import ViewPipeline
from pipelines.dali_views import DaliViews, DecoderCache, dali_is_importable, require_dali
from pipelines.manifest import Manifest
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import TorchvisionViews
from vicreg_fast.errors import UsageError

PipelineKind = Literal["auto", "dali", "torchvision"]
MOST_DEFAULT_WORKERS = 16


def default_workers() -> int:
    """The cores this process may use, at most 16."""
    return min(MOST_DEFAULT_WORKERS, len(os.sched_getaffinity(0)))


def resolve_pipeline(kind: str, device_type: str) -> tuple[str, str | None]:
    """The back end's name for views on `cpu` or `cuda`, and when `auto` fell back to torchvision the reason
    in words, else None.

    Raises UsageError for an unknown kind, and for `dali` without DALI.
    """
    if kind == "torchvision":
        return "torchvision", None
    if kind == "dali":
        require_dali(device_type)
        return "dali", None
    if kind != "auto":
        raise UsageError(f"pipeline {kind!r}: must be auto, dali or torchvision")
    if not dali_is_importable():
        return (
            "torchvision",
            "NVIDIA DALI is not installed (pip install 'vicreg-fast[cuda13]' or 'vicreg-fast[cuda12]')",
        )
    try:
        require_dali(device_type)
    except UsageError as error:
        return "torchvision", str(error)
    return "dali", None


def make_views(
    kind: PipelineKind,
    manifest: Manifest,
    *,
    augmentation: str,
    image_size: int,
    batch_size: int,
    seed: int,
    workers: int,
    device: torch.device | str,
    rank: int = 0,
    world_size: int = 1,
    batches_per_step: int = 1,
    decoder_cache: DecoderCache = "auto",
) -> ViewPipeline:
    """A pipeline of two views.

    `batch_size` is one rank's, in images; `image_size` the side of a view in pixels; `workers` processes
    (torchvision) or threads (DALI), 0 for the cores at most 16; views come on `device`, labels on the
    CPU. An epoch has a multiple of `batches_per_step` batches, so that a step which takes several never spans
    two epochs. With `decoder_cache` "auto", DALI keeps a set that is small enough decoded in memory
    (`pipelines.dali_graph.MOST_DECODED_MIB`). Raises UsageError for an unknown augmentation, kind or
    cache and for DALI where it is not installed, DataError when the set is smaller than a step's batches.
    """
    if augmentation not in AUGMENTATIONS:
        raise UsageError(f"augmentation {augmentation!r}: must be {' or '.join(AUGMENTATIONS)}")
    if decoder_cache not in ("auto", "off"):
        raise UsageError(f"decoder_cache {decoder_cache!r}: must be auto or off")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {device}: there is no usable CUDA device; use the device cpu")
    name, _ = resolve_pipeline(kind, torch.device(device).type)
    back_end: Callable[..., ViewPipeline]
    back_end = partial(DaliViews, decoder_cache=decoder_cache) if name == "dali" else TorchvisionViews
    return back_end(
        manifest,
        augmentation=augmentation,
        image_size=image_size,
        batch_size=batch_size,
        seed=seed,
        workers=workers or default_workers(),
        device=torch.device(device),
        rank=rank,
        world_size=world_size,
        batches_per_step=batches_per_step,
    )
