"""Views by DALI's operators with every random choice made: what the back ends are compared by."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.dali_graph import encoded_path
from pipelines.dali_views import require_dali
from pipelines.spec import ViewSpec
from pipelines.view_parameters import ViewParameters

ANYTHING = ViewSpec(blur=0.5, solarize=0.5)
"""A specification that never rules an operation out."""


def render_fixed(
    images: list[Image.Image], parameters: list[ViewParameters], image_size: int
) -> torch.Tensor:
    """(n, S, S, 3) uint8 of n RGB images, one set of parameters each, on the CPU. Raises UsageError without
    DALI."""
    pixels = [np.asarray(image) for image in images]
    return _rendered(pixels, parameters, image_size, torch.device("cpu"), encoded=False)


def render_files(
    paths: Sequence[str], parameters: list[ViewParameters], image_size: int, device: torch.device
) -> torch.Tensor:
    """The same of n image files, which DALI decodes: (n, S, S, 3) uint8 on the CPU, made on `device` by the
    operators that the pipeline has there."""
    return _rendered([encoded_path(path) for path in paths], parameters, image_size, device, encoded=True)


def _rendered(
    sources: list[Any],
    parameters: list[ViewParameters],
    image_size: int,
    device: torch.device,
    *,
    encoded: bool,
) -> torch.Tensor:
    require_dali(device.type)
    from nvidia.dali import pipeline_def
    from nvidia.dali.plugin.pytorch import feed_ndarray

    from pipelines.dali_graph import decode
    from pipelines.dali_ops import fn, render_view

    on_gpu = device.type == "cuda"
    vectors = np.stack([each.vector() for each in parameters])

    @pipeline_def
    def graph() -> Any:
        source, vector = fn.external_source(
            source=lambda: (sources, vectors),
            num_outputs=2,
            batch=True,
            layout=None if encoded else ["HWC", ""],
        )
        image = decode(source, device) if encoded else source
        return render_view(image, vector, ANYTHING, image_size, on_gpu)

    pipeline = graph(
        batch_size=len(sources),
        num_threads=1,
        device_id=(device.index or 0) if on_gpu else None,
        exec_dynamic=True,
        enable_conditionals=on_gpu,
    )
    pipeline.build()
    (output,) = pipeline.run()
    views = torch.empty((len(sources), image_size, image_size, 3), dtype=torch.uint8)
    feed_ndarray((output.as_cpu() if on_gpu else output).as_tensor(), views)
    return views
