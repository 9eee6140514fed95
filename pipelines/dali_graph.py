"""The DALI pipeline of two random views: its reader, its decoder and its seeds."""

from typing import Any

import torch

from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.sampling import derived_seed, epoch_order
from pipelines.spec import AUGMENTATIONS

PREFETCH = 2
"""Batches made ahead."""
HW_DECODER_LOAD = 0.65
"""Share of the JPEGs for a GPU's dedicated decoder, where it has one; the rest goes to its other cores."""
MOST_CACHE_MIB = 4096
"""The largest data set, decoded, that is kept in a GPU's memory: a twentieth of one of 80 GB. CIFAR takes 147
MiB, Tiny ImageNet 1,172, STL-10 without its test images 2,769; ImageNet is over a hundred times larger."""
CACHE_ROOM_MIB = 1
FIRST_ORDER = -1
"""In place of an epoch, when deriving the seed of the reader's first order; the numbers below it are for
streams that began later."""


def decoder_cache_mib(manifest: Manifest) -> int:
    """MiB that hold every image of the set decoded to RGB bytes, or 0 when that is more than MOST_CACHE_MIB.

    Exact but for the room: the manifest knows every image's size, and DALI packs them without gaps.
    """
    decoded = sum(3 * height * width for height, width in zip(manifest.heights, manifest.widths, strict=True))
    mib = -(-decoded // 2**20) + CACHE_ROOM_MIB
    return mib if mib <= MOST_CACHE_MIB else 0


def views_pipeline(
    *,
    manifest: Manifest,
    position: Position,
    threads: int,
    device: torch.device,
    cache_mib: int,
    checkpoint: bytes | None,
) -> Any:
    """The nvidia.dali.Pipeline of two views, (n, S, S, 3) uint8 each, and int32 labels on the CPU; not yet
    built, for that takes the device.

    `cache_mib` is the decoder's cache on a GPU, 0 for none; `checkpoint` is DALI's own, of the same graph.
    """
    from nvidia.dali import pipeline_def

    from pipelines.dali_ops import fn, random_nodes, render_view

    on_gpu = device.type == "cuda"
    specs = AUGMENTATIONS[position.augmentation]
    began = position.began_at_epoch
    order = epoch_order(len(manifest), position.seed, FIRST_ORDER - began).tolist()
    # by global rank: a seed by local device repeats the random numbers on every node
    seeds = (position.seed, position.rank) if began == 0 else (position.seed, position.rank, began)

    @pipeline_def
    def graph() -> Any:
        encoded, label = fn.readers.file(
            files=[manifest.path(index) for index in order],
            labels=[manifest.labels[index] for index in order],
            shard_id=position.rank,
            num_shards=position.world_size,
            shuffle_after_epoch=True,
            pad_last_batch=True,
            name="reader",
        )
        image = decoded(encoded, on_gpu, cache_mib)
        shape = fn.peek_image_shape(encoded, adjust_orientation=False)
        views = [render_view(image, random_nodes(spec, shape), position.image_size, on_gpu) for spec in specs]
        return *views, label

    return graph(
        batch_size=position.batch_size,
        num_threads=threads,
        device_id=(device.index or 0) if on_gpu else None,
        seed=derived_seed(*seeds) % 2**31,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
        enable_conditionals=True,
        enable_checkpointing=True,
        checkpoint=checkpoint,
    )


def decoded(encoded: Any, on_gpu: bool, cache_mib: int) -> Any:
    """The RGB image of an encoded one, as nodes.

    No orientation from EXIF, as in the official code. No decoding of a region on the GPU: reported to crash.
    """
    from pipelines.dali_modules import fn, types

    return fn.decoders.image(
        encoded,
        output_type=types.RGB,
        adjust_orientation=False,
        **(_gpu_decoder(cache_mib) if on_gpu else {"device": "cpu"}),
    )


def _gpu_decoder(cache_mib: int) -> dict[str, Any]:
    decoder = {"device": "mixed", "hw_decoder_load": HW_DECODER_LOAD}
    if cache_mib:
        # `threshold` keeps images as they come; `largest` would watch an epoch first
        decoder |= {"cache_size": cache_mib, "cache_type": "threshold", "cache_threshold": 0}
    return decoder


__all__ = ["MOST_CACHE_MIB", "decoded", "decoder_cache_mib", "views_pipeline"]
