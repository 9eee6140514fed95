"""Loader-only throughput: how many pairs of views a second each loader makes, with nothing else to do.

Rounds are interleaved in alternating order, so that a drift of the machine falls on both. A pipeline lives
only while it is measured: two at once would share the cores. What is made before the first window (the queues
that fill while the pipeline starts) is discarded, or it would count as made in no time.
"""

import os
import time
from collections.abc import Sequence
from typing import Literal

import torch

from bench.record import Throughput
from bench.rival_loader import StockViews
from pipelines.contract import ViewPipeline
from pipelines.factory import PipelineKind, default_workers, make_views
from pipelines.manifest import Manifest
from vicreg_fast.errors import UsageError

LoaderKind = PipelineKind | Literal["torchvision-stock"]
LOADERS: tuple[LoaderKind, ...] = ("torchvision-stock", "torchvision", "dali")
"""The authors' loader, and our two back ends."""
LEAST_WINDOWS = 3
WARM_UP_BATCHES_A_WORKER = 3
"""More than either back end makes ahead (two), so the first window begins with what was asked for last."""


def measure_loaders(
    manifest: Manifest,
    *,
    augmentation: str,
    image_size: int,
    batch_size: int,
    workers: int,
    rounds: int,
    seconds: float,
    pipelines: Sequence[LoaderKind] = LOADERS,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> list[Throughput]:
    """One loader-only Throughput a round and pipeline, the scenario named for the pipeline.

    `workers` are torchvision's processes and DALI's threads, 0 for the cores; `seconds` is how long each is
    measured in each round, after its warm-up. Raises UsageError and DataError as
    `pipelines.factory.make_views`.
    """
    workers = workers or default_workers()
    records = []
    for number in range(rounds):
        order = list(pipelines) if number % 2 == 0 else list(reversed(pipelines))
        for place, kind in enumerate(order):
            views: ViewPipeline | StockViews
            if kind == "torchvision-stock":
                if torch.device(device).type != "cpu":
                    raise UsageError(
                        "the stock loader is timed on a CPU only; leave it out, or use --device cpu"
                    )
                views = StockViews(
                    manifest,
                    augmentation=augmentation,
                    image_size=image_size,
                    batch_size=batch_size,
                    workers=workers,
                )
            else:
                views = make_views(
                    kind,
                    manifest,
                    augmentation=augmentation,
                    image_size=image_size,
                    batch_size=batch_size,
                    seed=seed + number,
                    workers=workers,
                    device=device,
                )
            try:
                windows = _window_seconds(views, workers, seconds)
            finally:
                views.close()
            records.append(
                Throughput(
                    scenario=views.name,
                    mode="loader-only",
                    round=number,
                    position=place,
                    pid=os.getpid(),
                    batch_size=batch_size,
                    image_size=image_size,
                    steps_per_window=workers,
                    window_seconds=tuple(windows),
                )
            )
    return records


def _window_seconds(views: ViewPipeline | StockViews, workers: int, seconds: float) -> list[float]:
    """Windows of one batch a worker: torchvision's workers finish together, so shorter ones would measure
    their rhythm."""
    batches = iter(views)
    for _ in range(WARM_UP_BATCHES_A_WORKER * workers):
        next(batches)
    windows: list[float] = []
    while len(windows) < LEAST_WINDOWS or sum(windows) < seconds:
        began = time.perf_counter()
        for _ in range(workers):
            batch = next(batches)
        if batch.view_1.device.type == "cuda":
            torch.cuda.synchronize(batch.view_1.device)
        windows.append(time.perf_counter() - began)
    return windows
