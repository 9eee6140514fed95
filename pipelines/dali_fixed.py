"""Views by DALI's operators with every random choice made: what the back ends are compared by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.dali_views import require_dali
from pipelines.spec import ViewParameters
from pipelines.view_parameters import as_vector


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
    contents = [np.frombuffer(Path(path).read_bytes(), dtype=np.uint8) for path in paths]
    return _rendered(contents, parameters, image_size, device, encoded=True)


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

    from pipelines.dali_graph import decoded
    from pipelines.dali_ops import fixed_nodes, fn, render_view

    on_gpu = device.type == "cuda"
    rows = [as_vector(each) for each in parameters]

    def view(image: Any) -> Any:
        if on_gpu:
            return render_view(image, fixed_nodes(parameters), image_size, on_gpu)
        # not at the top: only a CPU needs Numba
        from pipelines.dali_view_kernel import view_on_cpu

        return view_on_cpu(image, fn.external_source(source=lambda: rows, batch=True), image_size)

    @pipeline_def
    def graph() -> Any:
        source = fn.external_source(source=lambda: sources, batch=True, layout=None if encoded else "HWC")
        image = decoded(source, on_gpu, cache_mib=0) if encoded else source
        return view(image)

    pipeline = graph(
        batch_size=len(sources),
        num_threads=1,
        device_id=(device.index or 0) if on_gpu else None,
        exec_dynamic=True,
        enable_conditionals=True,
    )
    pipeline.build()
    (output,) = pipeline.run()
    views = torch.empty((len(sources), image_size, image_size, 3), dtype=torch.uint8)
    feed_ndarray((output.as_cpu() if on_gpu else output).as_tensor(), views)
    return views
