"""The DALI pipelines: of two views, and of decoded images alone.

Which image comes when and what happens to it is fed in, a batch at a time: DALI draws nothing and remembers
nothing.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch

from pipelines.manifest import Manifest
from pipelines.spec import ViewSpec

PREFETCH = 2
"""Batches made ahead."""
HW_DECODER_LOAD = 0.65
"""Share of the JPEGs for a GPU's dedicated decoder, where it has one; the rest goes to its other cores."""
MOST_DECODED_MIB = 1536
"""The largest set that each rank keeps decoded in its memory, at three bytes a pixel: CIFAR takes 147 MiB,
Tiny ImageNet 1,172, and ImageNet is over a hundred times larger."""
DECODE_BATCH = 256

Image = np.ndarray[Any, np.dtype[np.uint8]]
Feed = Callable[[], tuple[list[Image], Any, Any]]
"""A batch each time: its images, decoded (H, W, 3) or encoded as `encoded_path` has them, and the vectors of
both views, (n, PARAMETERS) float64."""


def views_pipeline(
    feed: Feed,
    *,
    specs: Sequence[ViewSpec],
    image_size: int,
    batch_size: int,
    threads: int,
    device: torch.device,
    decoded: bool,
) -> Any:
    """The nvidia.dali.Pipeline of two views, (n, S, S, 3) uint8 each; not yet built, for that takes the
    device. `decoded` says which of the two `feed` gives."""
    from nvidia.dali import pipeline_def

    from pipelines.dali_ops import fn, render_view

    on_gpu = device.type == "cuda"

    @pipeline_def
    def graph() -> Any:
        source, *vectors = fn.external_source(
            source=feed, num_outputs=3, batch=True, layout=["HWC", "", ""] if decoded else None
        )
        image = (source.gpu() if on_gpu else source) if decoded else decode(source, device)
        return tuple(
            render_view(image, vectors[place], spec, image_size, on_gpu) for place, spec in enumerate(specs)
        )

    return graph(
        batch_size=batch_size,
        num_threads=threads,
        device_id=(device.index or 0) if on_gpu else None,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
        enable_conditionals=on_gpu,
    )


def encoded_path(path: str) -> Image:
    """A path as `decode` takes it."""
    return np.frombuffer(path.encode(), dtype=np.uint8)


def decode(path: Any, device: torch.device) -> Any:
    """The RGB image of an encoded path, as nodes.

    No orientation from EXIF, as in the official code. No decoding of a region on the GPU: reported to crash.
    """
    from pipelines.dali_modules import fn, types

    decoder: dict[str, Any] = {"device": "cpu"}
    if device.type == "cuda":
        decoder = {"device": "mixed", "hw_decoder_load": HW_DECODER_LOAD}
    return fn.decoders.image(
        fn.io.file.read(path), output_type=types.RGB, adjust_orientation=False, **decoder
    )


def decoded_mib(manifest: Manifest) -> float:
    """MiB of every image of the set decoded to RGB bytes."""
    return sum(_decoded_bytes(manifest)) / 2**20


def decode_set(manifest: Manifest, threads: int) -> list[Image]:
    """Every image, (H, W, 3) uint8, in one piece of memory. Raises RuntimeError, DALI's own, where a file
    cannot be decoded or no longer has the size that the manifest says."""
    from nvidia.dali import pipeline_def

    from pipelines.dali_modules import fn

    @pipeline_def
    def graph() -> Any:
        return decode(fn.external_source(name="path"), torch.device("cpu"))

    ends = list(accumulate(_decoded_bytes(manifest), initial=0))
    whole = np.empty(ends[-1], dtype=np.uint8)
    images = [
        whole[begin:end].reshape(height, width, 3)
        for (begin, end), height, width in zip(pairwise(ends), manifest.heights, manifest.widths, strict=True)
    ]
    pipeline = graph(
        batch_size=DECODE_BATCH,
        num_threads=threads,
        device_id=None,
        exec_dynamic=True,
        prefetch_queue_depth=1,
    )
    pipeline.build()
    for first in range(0, len(manifest), DECODE_BATCH):
        indices = range(first, min(first + DECODE_BATCH, len(manifest)))
        (output,) = pipeline.run(path=[encoded_path(manifest.path(index)) for index in indices])
        for place, index in enumerate(indices):
            pixels = np.asarray(output[place])
            if pixels.shape != images[index].shape:
                raise RuntimeError(f"{manifest.path(index)} has another size than when it was checked")
            images[index][...] = pixels
    return images


def _decoded_bytes(manifest: Manifest) -> list[int]:
    return [3 * height * width for height, width in zip(manifest.heights, manifest.widths, strict=True)]
