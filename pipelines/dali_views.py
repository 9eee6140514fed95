"""Views by NVIDIA DALI: on the CPU alone, or decoded by a GPU's own decoder with all else on the GPU.

The order of the images is a global shuffle: the reader gets the files in an order drawn from the seed, and
shuffles the whole list anew after every epoch, alike on every rank. Its epochs are padded to whole batches;
the padded batch is run and dropped, so every rank has the same number of steps. DALI draws the augmentation's
random numbers, and its checkpoint restores them.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pipelines.contract import BatchContract, ViewBatch
from pipelines.dali_graph import decoder_cache_mib, views_pipeline
from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.sampling import batches_in_epoch
from pipelines.torchvision_views import Failure, undecodable
from pipelines.transfer import SideStream
from vicreg_fast.errors import CheckpointError, DataError, UsageError

DecoderCache = Literal["auto", "off"]


def dali_is_importable() -> bool:
    """Whether nvidia.dali is installed; does not import it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def require_dali(device_type: str) -> None:
    """Raises UsageError, naming the extra to install, unless DALI can be imported, and for `cpu` Numba."""
    name = "NVIDIA DALI"
    try:
        import nvidia.dali  # noqa: F401

        if device_type == "cpu":
            name = "Numba, which DALI's views on a CPU are resized by,"
            import numba  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"pipeline dali: {name} cannot be imported ({' '.join(str(error).split())[:80]}); "
            "pip install 'vicreg-fast[cuda13]' or 'vicreg-fast[cuda12]', or use --pipeline torchvision"
        ) from error


class DaliViews:
    """A ViewPipeline. Arguments are as in `pipelines.factory.make_views`; `workers` are DALI's threads, at
    least one.

    Raises UsageError when DALI, or on a CPU Numba, is not installed or has no such device, and DataError when
    the set is smaller than a batch or, while iterating, when a file cannot be decoded.
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
        decoder_cache: DecoderCache = "auto",
    ) -> None:
        require_dali(device.type)
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
        on_gpu = device.type == "cuda"
        self._cache_mib = decoder_cache_mib(manifest) if on_gpu and decoder_cache == "auto" else 0
        self._side = SideStream(device) if on_gpu else None
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
            if self.position.step == 0 and self.position.epoch > self.position.began_at_epoch:
                for _ in range(self._padded_batches):
                    self._drop_batch()
            batch = self._take_batch()
        except RuntimeError as error:
            self._pipeline = None  # DALI's own word: no longer valid
            raise self._explained(error) from error
        self.position = self.position.after_batch(self.batches_per_epoch)
        return batch

    def _started(self) -> Any:
        pipeline = views_pipeline(
            manifest=self.manifest,
            position=self.position,
            threads=self._threads,
            device=self.contract.device,
            cache_mib=self._cache_mib,
            checkpoint=self._checkpoint,
        )
        pipeline.build()
        pipeline.schedule_run()
        return pipeline

    def _drop_batch(self) -> None:
        self._share_outputs()
        self._release()

    def _take_batch(self) -> ViewBatch:
        outputs = self._share_outputs()
        if self._side is None:
            batch = self._copied(outputs)
        else:
            batch = self._side.handed_over(self._side.started(lambda: self._copied(outputs)))
        self._checkpoint = None
        self._release()
        return batch

    def _share_outputs(self) -> Any:
        """DALI's next outputs. On a GPU the side stream waits for them, which without a stream the host
        would."""
        if self._side is None:
            return self._pipeline.share_outputs()
        return self._pipeline.share_outputs(cuda_stream=self._side.stream)

    def _release(self) -> None:
        self._pipeline.release_outputs()
        self._pipeline.schedule_run()

    def _copied(self, outputs: Any) -> ViewBatch:
        view_1, view_2, label = outputs
        labels = torch.from_numpy(np.array(label.as_array())).reshape(-1).to(torch.int64)
        return ViewBatch(self._copied_view(view_1), self._copied_view(view_2), labels)

    def _copied_view(self, output: Any) -> torch.Tensor:
        from nvidia.dali.plugin.pytorch import feed_ndarray

        side = self.contract.image_size
        view = torch.empty(
            (self.contract.batch_size, side, side, 3), dtype=torch.uint8, device=self.contract.device
        )
        # With a stream the copy is only queued, and DALI's buffer waits for it before it is used again.
        stream = self._side.stream if self._side is not None else None
        feed_ndarray(output.as_tensor(), view, cuda_stream=stream)
        return view.permute(0, 3, 1, 2)

    def state_dict(self) -> dict[str, Any]:
        """The position, and DALI's checkpoint as a uint8 tensor, which is empty at the very start."""
        if self._pipeline is not None and self._checkpoint is None:
            self._checkpoint = self._pipeline.checkpoint()
        held = np.frombuffer(self._checkpoint or b"", dtype=np.uint8).copy()
        return {**self.position.state_dict(), "checkpoint": torch.from_numpy(held), "dali": _dali_version()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to that position. Raises CheckpointError when the state is of another pipeline, data set,
        run or DALI.

        DALI's checkpoint is of one shard of its ranks. So where their number changes the graph is built
        without it, with an order and random numbers that belong to the epoch it begins at.
        """
        position = self.position.restored(state)
        held = None if self.position.redistributes(state) else _dali_checkpoint(state, position)
        self._stop()
        self.position = position
        self._checkpoint = held

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


def _dali_checkpoint(state: dict[str, Any], position: Position) -> bytes | None:
    """None at the very start of a stream. Raises CheckpointError when this DALI cannot go on from it."""
    checkpoint = state.get("checkpoint")
    at_start = (position.epoch, position.step) == (position.began_at_epoch, 0)
    usable = isinstance(checkpoint, torch.Tensor) and checkpoint.dtype == torch.uint8
    if checkpoint is None or not usable or not (checkpoint.numel() or at_start):
        raise CheckpointError("loader state: DALI's checkpoint is missing; start the run anew")
    if state.get("dali") != _dali_version():
        raise CheckpointError(
            f"loader state: DALI {state.get('dali')} wrote it, and this is {_dali_version()}, "
            "which cannot read its random numbers; install that version, or start anew"
        )
    return checkpoint.cpu().numpy().tobytes() or None


def _dali_version() -> str:
    import nvidia.dali

    return str(nvidia.dali.__version__)


__all__ = ["DaliViews", "dali_is_importable", "require_dali"]
