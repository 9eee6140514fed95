"""Views by NVIDIA DALI: on the CPU alone, or decoded by a GPU's own decoder with all else on the GPU.

The order of the images is a global shuffle: the reader gets the files in an order drawn from the seed, and
shuffles the whole list anew after every epoch, alike on every rank. Its epochs are padded to whole batches;
the padded batch is run and dropped, so every rank has the same number of steps. DALI draws the augmentation's
random numbers, and its checkpoint restores them.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.contract import BatchContract, ViewBatch
from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.sampling import batches_in_epoch, derived_seed, epoch_order
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import Failure, undecodable
from vicreg_fast.errors import CheckpointError, DataError, UsageError

PREFETCH = 2
"""Batches made ahead."""
HW_DECODER_LOAD = 0.65
"""Share of the JPEGs for a GPU's dedicated decoder, where it has one; the rest goes to its other cores."""
ORDER = -1
"""In place of an epoch, when deriving the seed of the reader's first order."""


def dali_is_importable() -> bool:
    """Whether nvidia.dali is installed; does not import it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def require_dali() -> None:
    """Raises UsageError, naming the extra to install, unless DALI can be imported."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"pipeline dali: NVIDIA DALI cannot be imported ({' '.join(str(error).split())[:80]}); "
            "pip install 'vicreg-fast[cuda13]' or 'vicreg-fast[cuda12]', or use --pipeline torchvision"
        ) from error


class DaliViews:
    """A ViewPipeline. Arguments are as in `pipelines.factory.make_views`; `workers` are DALI's threads, at
    least one.

    Raises UsageError when DALI is not installed or has no such device, and DataError when the set is smaller
    than a batch or, while iterating, when a file cannot be decoded.
    """

    name = "dali"

    def __init__(
        self,
        manifest: Manifest,
        *,
        augmentation: str,
        image_size: int,
        batch_size: int,
        seed: int,
        workers: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        batches_per_step: int = 1,
    ) -> None:
        require_dali()
        manifest.require_batch(batch_size, world_size, batches_per_step)
        self.manifest = manifest
        self.contract = BatchContract(batch_size=batch_size, image_size=image_size, device=device)
        self.batches_per_epoch = batches_in_epoch(len(manifest), batch_size, world_size, batches_per_step)
        self.position = Position(
            pipeline=self.name,
            data=manifest.fingerprint,
            augmentation=augmentation,
            image_size=image_size,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            batches_per_step=batches_per_step,
        )
        longest_shard = -(-len(manifest) // world_size)
        self._padded_batches = -(-longest_shard // batch_size) - self.batches_per_epoch
        self._threads = max(1, workers)
        self._checkpoint: bytes | None = None
        self._pipeline: Any = None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._closed = False

    def __iter__(self) -> Iterator[ViewBatch]:
        while True:
            yield self._next()

    def _next(self) -> ViewBatch:
        if self._closed:
            raise DataError("the dali pipeline was closed and gives no further batch")
        try:
            if self._pipeline is None:
                self._pipeline = self._started()
            if self.position.step == 0 and self.position.epoch > 0:
                for _ in range(self._padded_batches):
                    self._drop_batch()
            batch = self._take_batch()
        except RuntimeError as error:
            self._pipeline = None  # DALI's own word: no longer valid
            raise self._explained(error) from error
        self.position = self.position.after_batch(self.batches_per_epoch)
        return batch

    def _started(self) -> Any:
        pipeline = self._built()
        pipeline.build()
        pipeline.schedule_run()
        return pipeline

    def _built(self) -> Any:
        """The pipeline's graph, not yet built: that takes the device."""
        order = epoch_order(len(self.manifest), self.position.seed, ORDER).tolist()
        return views_pipeline(
            files=[self.manifest.path(index) for index in order],
            labels=[self.manifest.labels[index] for index in order],
            position=self.position,
            threads=self._threads,
            device=self.contract.device,
            checkpoint=self._checkpoint,
        )

    def _drop_batch(self) -> None:
        self._pipeline.share_outputs()
        self._release()

    def _take_batch(self) -> ViewBatch:
        view_1, view_2, label = self._pipeline.share_outputs()
        batch = ViewBatch(self._copied_view(view_1), self._copied_view(view_2), self._copied_label(label))
        if self._copies is not None:
            current = torch.cuda.current_stream(self.contract.device)
            current.wait_stream(self._copies)
            for tensor in batch:
                tensor.record_stream(current)
        self._checkpoint = None
        self._release()
        return batch

    def _release(self) -> None:
        self._pipeline.release_outputs()
        self._pipeline.schedule_run()

    def _copied_view(self, output: Any) -> torch.Tensor:
        from nvidia.dali.plugin.pytorch import feed_ndarray

        side = self.contract.image_size
        # On a stream of its own: the copy waits for DALI, and not for the steps that are queued on the
        # current stream.
        with torch.cuda.stream(self._copies):
            view = torch.empty(
                (self.contract.batch_size, side, side, 3), dtype=torch.uint8, device=self.contract.device
            )
            feed_ndarray(output.as_tensor(), view, cuda_stream=self._copies)
        return view.permute(0, 3, 1, 2)

    def _copied_label(self, output: Any) -> torch.Tensor:
        label = torch.from_numpy(np.array(output.as_array())).reshape(-1).to(torch.int64)
        return label.to(self.contract.device)

    def state_dict(self) -> dict[str, Any]:
        """The position, and DALI's checkpoint as a uint8 tensor, which is empty at the very start."""
        if self._pipeline is not None and self._checkpoint is None:
            self._checkpoint = self._pipeline.checkpoint()
        held = np.frombuffer(self._checkpoint or b"", dtype=np.uint8).copy()
        return {**self.position.state_dict(), "checkpoint": torch.from_numpy(held), "dali": _dali_version()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to that position. Raises CheckpointError when the state is of another pipeline, data set,
        run or DALI."""
        position = self.position.restored(state)
        checkpoint = state.get("checkpoint")
        if not (isinstance(checkpoint, torch.Tensor) and checkpoint.dtype == torch.uint8):
            raise CheckpointError("loader state: DALI's checkpoint is missing; start the run anew")
        if state.get("dali") != _dali_version():
            raise CheckpointError(
                f"loader state: DALI {state.get('dali')} wrote it, and this is {_dali_version()}, "
                "which cannot read its random numbers; install that version, or start anew"
            )
        self._stop()
        self.position = position
        self._checkpoint = checkpoint.cpu().numpy().tobytes() or None

    def close(self) -> None:
        """Ends DALI's threads and frees its memory."""
        self._stop()
        self._closed = True

    def _stop(self) -> None:
        self._pipeline = None

    def _explained(self, error: RuntimeError) -> DataError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        for index in range(len(self.manifest)):
            # DALI does not say which file: most likely one that changed since it was checked
            path = Path(self.manifest.path(index))
            if not path.is_file() or path.stat().st_size != self.manifest.file_bytes[index]:
                return undecodable(Failure(str(path), "changed since it was checked"))
        reason = next((line for line in lines if not line.startswith("Critical error")), "no reason given")
        return DataError(
            f"{self.manifest.root}: DALI stopped ({reason[:160]}); `vicreg-fast data check` finds damaged "
            "files, and --pipeline torchvision runs without DALI"
        )


def views_pipeline(
    *,
    files: list[str],
    labels: list[int],
    position: Position,
    threads: int,
    device: torch.device,
    checkpoint: bytes | None,
) -> Any:
    """The nvidia.dali.Pipeline of two random views, (n, S, S, 3) uint8 each, and int32 labels on the CPU."""
    from nvidia.dali import pipeline_def

    from pipelines.dali_ops import fn, random_nodes, render_view, types

    on_gpu = device.type == "cuda"
    decoder = {"device": "mixed", "hw_decoder_load": HW_DECODER_LOAD} if on_gpu else {"device": "cpu"}
    specs = AUGMENTATIONS[position.augmentation]

    @pipeline_def
    def graph() -> Any:
        encoded, label = fn.readers.file(
            files=files,
            labels=labels,
            shard_id=position.rank,
            num_shards=position.world_size,
            shuffle_after_epoch=True,
            pad_last_batch=True,
            name="reader",
        )
        # No orientation from EXIF, as in the official code. No decoding of a region on the GPU: reported to
        # crash.
        image = fn.decoders.image(encoded, output_type=types.RGB, adjust_orientation=False, **decoder)
        shape = fn.peek_image_shape(encoded, adjust_orientation=False)
        views = [render_view(image, random_nodes(spec, shape), position.image_size, on_gpu) for spec in specs]
        return *views, label

    return graph(
        batch_size=position.batch_size,
        num_threads=threads,
        device_id=(device.index or 0) if on_gpu else None,
        # by global rank: a seed by local device repeats the random numbers on every node
        seed=derived_seed(position.seed, position.rank) % 2**31,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
        enable_conditionals=True,
        enable_checkpointing=True,
        checkpoint=checkpoint,
    )


def _dali_version() -> str:
    import nvidia.dali

    return str(nvidia.dali.__version__)


__all__ = ["DaliViews", "dali_is_importable", "require_dali", "views_pipeline"]
