"""How far each loader's views are from the official augmentation's: fixed parameters, the run's own images.

The reference is what the authors' code makes, torchvision's functions on an image that Pillow decoded, and
for the crop its bicubic antialiased resize (`pipelines.torchvision_views.render_view`). A loader's views are
made by the function or the graph that it is timed with, its decoder included.

Boxes lie on a grid of 8 pixels where images are large enough, so that a decoder that gives an image at 1/2,
1/4 or 1/8 of its size can cut the very same box.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bench.loader_kinds import BASELINE
from bench.loader_record import CROP, WHOLE, LoaderFidelity, LoaderSubject, OperationDifference
from bench.rival_loader import open_image
from bench.rival_loader_v2 import open_tensor, render_tensor
from pipelines.image_check import decode_rgb
from pipelines.manifest import Manifest
from pipelines.sampling import view_vectors
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import render_view
from pipelines.view_parameters import ViewParameters

MOST_IMAGES = 16
GRID = 8
SMALLEST_ON_GRID = 64
"""Pixels of the shorter side: below, a box on the grid would be far from the one drawn."""

Views = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One view to be made: of one image, for one operation."""

    operation: str
    path: str
    height: int
    width: int
    parameters: ViewParameters


def measure_fidelity(
    subject: LoaderSubject,
    manifest: Manifest,
    image_size: int,
    *,
    augmentation: str,
    device: torch.device | str = "cpu",
    on_view: Callable[[], None] = lambda: None,
) -> LoaderFidelity:
    """The subject's differences at `image_size` pixels, over up to 16 images spread over the set; `on_view`
    is called after each view that this process makes.

    Each operation that the augmentation has comes alone on the crop, colours at the ends of their ranges and
    the blur at its quarters; WHOLE is both of the augmentation's views with drawn parameters.
    """
    jobs = _jobs(manifest, augmentation)
    reference = _each(
        jobs, on_view, lambda job: render_view(decode_rgb(job.path), job.parameters, image_size)
    )
    views = _rendered(subject, jobs, image_size, torch.device(device), on_view)
    apart = np.abs(views.astype(np.int16) - reference).mean(axis=(1, 2, 3))
    plain = {job.path: view for job, view in zip(jobs, reference, strict=True) if job.operation == CROP}
    moved = np.array(
        [
            np.abs(view.astype(np.int16) - plain[job.path]).mean()
            for job, view in zip(jobs, reference, strict=True)
        ]
    )
    operations = []
    for name in dict.fromkeys(job.operation for job in jobs):
        of_it = np.array([job.operation == name for job in jobs])
        operations.append(
            OperationDifference(
                operation=name,
                mean=float(apart[of_it].mean()),
                worst_image=float(apart[of_it].max()),
                effect=None if name in (CROP, WHOLE) else float(moved[of_it].mean()),
            )
        )
    return LoaderFidelity(
        subject=subject.name,
        image_size=image_size,
        images=len(plain),
        operations=tuple(operations),
    )


def _jobs(manifest: Manifest, augmentation: str) -> list[_Job]:
    count = min(MOST_IMAGES, len(manifest))
    chosen = [round(number * (len(manifest) - 1) / max(1, count - 1)) for number in range(count)]
    jobs = []
    for index in chosen:
        size = manifest.heights[index], manifest.widths[index]
        drawn = view_vectors(augmentation, 0, 0, [index], *manifest.sizes([index]))
        whole = [ViewParameters.of(vector) for (vector,) in drawn]
        still = ViewParameters(
            crop=whole[0].crop, flip=False, jitter=None, gray=False, sigma=None, solarize=False
        )
        views = {CROP: [still], **_operations(still, augmentation), WHOLE: whole}
        jobs += [
            _Job(
                operation=name,
                path=manifest.path(index),
                height=size[0],
                width=size[1],
                parameters=replace(each, crop=_on_grid(each.crop, *size)),
            )
            for name, parameters in views.items()
            for each in parameters
        ]
    return jobs


def _operations(still: ViewParameters, augmentation: str) -> dict[str, list[ViewParameters]]:
    """Each operation that a view of the augmentation can have, alone."""
    specs = AUGMENTATIONS[augmentation]
    spec = specs[0]
    found = {}
    if any(each.jitter for each in specs):
        for name, value in (
            ("brightness", 1 + spec.brightness),
            ("contrast", 1 + spec.contrast),
            ("saturation", 1 + spec.saturation),
            ("hue", spec.hue),
        ):
            found[f"{name} {value:g}"] = [replace(still, jitter=((name, value),))]  # type: ignore[arg-type]
    if any(each.gray for each in specs):
        found["grey"] = [replace(still, gray=True)]
    if any(each.blur for each in specs):
        low, high = spec.sigma
        for quarter in (0.25, 0.75):
            sigma = low + quarter * (high - low)
            found[f"blur σ {sigma:.2f}"] = [replace(still, sigma=sigma)]
    if any(each.solarize for each in specs):
        found["solarize"] = [replace(still, solarize=True)]
    return found


def _on_grid(crop: tuple[int, int, int, int], height: int, width: int) -> tuple[int, int, int, int]:
    if min(height, width) < SMALLEST_ON_GRID:
        return crop
    top, left, tall, wide = (max(0, value // GRID) * GRID for value in crop)
    return top, left, max(GRID, tall), max(GRID, wide)


def _rendered(
    subject: LoaderSubject,
    jobs: Sequence[_Job],
    image_size: int,
    device: torch.device,
    on_view: Callable[[], None],
) -> Views:
    """(jobs, S, S, 3)."""
    if subject.pipeline == "dali":
        from pipelines.dali_fixed import render_files

        paths, parameters = [job.path for job in jobs], [job.parameters for job in jobs]
        views: Views = render_files(paths, parameters, image_size, device).numpy()
        return views
    return _each(jobs, on_view, lambda job: _rendered_one(subject, job, image_size))


def _rendered_one(subject: LoaderSubject, job: _Job, image_size: int) -> Views:
    if subject.pipeline == "torchvision-v2":
        image = open_tensor(job.path, subject.decoder)  # type: ignore[arg-type]
        view: Views = render_tensor(image, job.parameters, image_size).permute(1, 2, 0).numpy()
        return view
    if subject.pipeline == BASELINE:  # its transforms call what render_view calls
        opened = open_image(job.path, subject.decoder, image_size)  # type: ignore[arg-type]
        times = job.width / opened.width
        top, left, tall, wide = (round(value / times) for value in job.parameters.crop)
        return render_view(opened, replace(job.parameters, crop=(top, left, tall, wide)), image_size)
    return render_view(decode_rgb(job.path), job.parameters, image_size)


def _each(jobs: Sequence[_Job], on_view: Callable[[], None], render: Callable[[_Job], Views]) -> Views:
    views = []
    for job in jobs:
        views.append(render(job))
        on_view()
    return np.stack(views)
