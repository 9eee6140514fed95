"""Views by DALI's CPU operators with every random choice made: what the back ends are compared by."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.dali_views import require_dali
from pipelines.spec import ViewParameters


def render_fixed(
    images: list[Image.Image], parameters: list[ViewParameters], image_size: int
) -> torch.Tensor:
    """(n, S, S, 3) uint8 of n RGB images, one set of parameters each. Raises UsageError without DALI."""
    require_dali()
    from nvidia.dali import pipeline_def
    from nvidia.dali.plugin.pytorch import feed_ndarray

    from pipelines.dali_ops import fixed_nodes, fn, render_view

    pixels = [np.asarray(image) for image in images]

    @pipeline_def
    def graph() -> Any:
        image = fn.external_source(source=lambda: pixels, batch=True, layout="HWC")
        return render_view(image, fixed_nodes(parameters), image_size, on_gpu=False)

    pipeline = graph(
        batch_size=len(images), num_threads=1, device_id=None, exec_dynamic=True, enable_conditionals=True
    )
    pipeline.build()
    (output,) = pipeline.run()
    views = torch.empty((len(images), image_size, image_size, 3), dtype=torch.uint8)
    feed_ndarray(output.as_tensor(), views)
    return views
