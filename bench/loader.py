"""One loader's throughput: how many pairs of views a second it makes, with nothing else to do.

A pipeline lives only while it is measured: two at once would share the cores. What is made before the first
window (the queues that fill while the pipeline starts) is discarded, or it would count as made in no time.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import psutil
import torch

from bench.loader_kinds import BASELINE, KEPT_DECODED
from bench.loader_record import LoaderRate, LoaderSubject
from bench.rival_loader import RivalViews, stock_views
from bench.rival_loader_v2 import v2_views
from pipelines.contract import ViewBatch, ViewPipeline
from pipelines.factory import make_views
from pipelines.manifest import Manifest

LEAST_WINDOWS = 3
WARM_UP_BATCHES_A_WORKER = 3
"""More than any of them makes ahead (two), so the first window begins with what was asked for last."""


@dataclass(frozen=True, kw_only=True)
class LoaderSetting:
    """What a loader's rate depends on."""

    threads: int
    """DALI's threads, or DataLoader's worker processes; at least one."""
    image_size: int
    batch_size: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads != 1 else "")
        return f"{threads}, {self.image_size} px, batch {self.batch_size}"


def open_views(
    subject: LoaderSubject,
    manifest: Manifest,
    setting: LoaderSetting,
    *,
    augmentation: str,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> ViewPipeline | RivalViews:
    """The subject's endless stream of views. Raises UsageError and DataError as
    `pipelines.factory.make_views`."""
    if subject.pipeline in (BASELINE, "torchvision-v2"):
        make = stock_views if subject.pipeline == BASELINE else v2_views
        return make(
            manifest,
            augmentation=augmentation,
            image_size=setting.image_size,
            batch_size=setting.batch_size,
            workers=setting.threads,
            device=device,
            decoder=subject.decoder,  # type: ignore[arg-type]
        )
    return make_views(
        subject.pipeline,  # type: ignore[arg-type]
        manifest,
        augmentation=augmentation,
        image_size=setting.image_size,
        batch_size=setting.batch_size,
        seed=seed,
        workers=setting.threads,
        device=device,
        decoder_cache="auto" if subject.decoder in KEPT_DECODED else "off",
    )


def measure_rate(
    subject: LoaderSubject,
    manifest: Manifest,
    setting: LoaderSetting,
    *,
    augmentation: str,
    seconds: float,
    device: torch.device | str = "cpu",
    round: int = 0,
    position: int = 0,
    on_batch: Callable[[], None] = lambda: None,
) -> LoaderRate:
    """Windows over at least `seconds`, after a warm-up; `on_batch` is called after each batch.

    The round is the seed of our own pipelines, so that every loader's images differ from round to round.
    Raises what `open_views` raises, and while it runs DataError or RuntimeError.
    """
    with closing(
        open_views(subject, manifest, setting, augmentation=augmentation, device=device, seed=round)
    ) as views:
        windows, cpu_seconds = _windows(iter(views), setting.threads, seconds, on_batch)
    return LoaderRate(
        subject=subject.name,
        threads=setting.threads,
        image_size=setting.image_size,
        batch_size=setting.batch_size,
        round=round,
        position=position,
        pid=os.getpid(),
        batches_per_window=setting.threads,
        window_seconds=tuple(windows),
        cpu_seconds=cpu_seconds,
    )


def _windows(
    batches: Iterator[ViewBatch], workers: int, seconds: float, on_batch: Callable[[], None]
) -> tuple[list[float], float]:
    """Seconds of each window, and processor seconds over all of them.

    A window is one batch a worker: torchvision's workers finish together, so shorter ones would measure their
    rhythm.
    """
    for _ in range(WARM_UP_BATCHES_A_WORKER * workers):
        next(batches)
        on_batch()
    windows: list[float] = []
    processor_before = _processor_seconds()
    while len(windows) < LEAST_WINDOWS or sum(windows) < seconds:
        began = time.perf_counter()
        for _ in range(workers):
            batch = next(batches)
            on_batch()
        if batch.view_1.device.type == "cuda":
            torch.cuda.synchronize(batch.view_1.device)
        windows.append(time.perf_counter() - began)
    return windows, _processor_seconds() - processor_before


def _processor_seconds() -> float:
    """Of this process and those below it, so far."""
    total = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            spent = process.cpu_times()
            total += spent.user + spent.system
    return total
