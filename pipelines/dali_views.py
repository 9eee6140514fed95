"""Views by NVIDIA DALI: on the CPU alone, or decoded by a GPU's own decoder with all else on the GPU.

DALI is fed: the position says which images come and with which parameters, so DALI keeps no state of a run,
and a run resumes under any version of it.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from pipelines.contract import BatchContract, ViewBatch
from pipelines.dali_graph import (
    MOST_DECODED_MIB,
    Image,
    decode_set,
    decoded_mib,
    encoded_path,
    views_pipeline,
)
from pipelines.image_check import READ_ERRORS, decode_rgb
from pipelines.manifest import Manifest
from pipelines.position import Position
from pipelines.sampling import batch_indices, batches_in_epoch, view_vectors
from pipelines.spec import AUGMENTATIONS
from pipelines.torchvision_views import CHANGED, Failure, undecodable
from pipelines.transfer import SideStream
from vicreg_fast.errors import DataError, UsageError

DecoderCache = Literal["auto", "on", "off"]


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
            name = "Numba, which compiles the views on a CPU,"
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
        self._threads = max(1, workers)
        small = device.type == "cuda" and decoded_mib(manifest) <= MOST_DECODED_MIB
        self._keeps_decoded = decoder_cache == "on" or (decoder_cache == "auto" and small)
        self._decoded: list[Image] | None = None
        self._pipeline: Any = None
        self._fed = self.position
        self._side = SideStream(device) if device.type == "cuda" else None
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
            batch = self._take_batch()
        except RuntimeError as error:
            self._pipeline = None  # DALI's own word: no longer valid
            raise self._explained(error) from error
        self.position = self.position.after_batch(self.batches_per_epoch)
        return batch

    def _started(self) -> Any:
        if self._keeps_decoded and self._decoded is None:
            self._decoded = decode_set(self.manifest, self._threads)
        self._fed = self.position
        pipeline = views_pipeline(
            self._feed,
            specs=AUGMENTATIONS[self.position.augmentation],
            image_size=self.contract.image_size,
            batch_size=self.contract.batch_size,
            threads=self._threads,
            device=self.contract.device,
            decoded=self._decoded is not None,
        )
        pipeline.build()
        pipeline.schedule_run()
        return pipeline

    def _feed(self) -> tuple[list[Image], Any, Any]:
        """What DALI makes its next batch of; it asks ahead."""
        position, manifest = self._fed, self.manifest
        indices = batch_indices(position, len(manifest))
        if self._decoded is not None:
            images = [self._decoded[index] for index in indices]
        else:
            images = [encoded_path(manifest.path(index)) for index in indices]
        vector_1, vector_2 = view_vectors(
            position.augmentation,
            position.seed,
            position.epoch,
            indices,
            *manifest.sizes(indices),
        )
        self._fed = position.after_batch(self.batches_per_epoch)
        return images, vector_1, vector_2

    def _take_batch(self) -> ViewBatch:
        outputs = self._share_outputs()
        if self._side is None:
            batch = self._copied(outputs)
        else:
            batch = self._side.handed_over(self._side.started(lambda: self._copied(outputs)))
        self._pipeline.release_outputs()
        self._pipeline.schedule_run()
        return batch

    def _share_outputs(self) -> Any:
        """DALI's next outputs. On a GPU the side stream waits for them, which without a stream the host
        would."""
        if self._side is None:
            return self._pipeline.share_outputs()
        return self._pipeline.share_outputs(cuda_stream=self._side.stream)

    def _copied(self, outputs: Any) -> ViewBatch:
        view_1, view_2 = outputs
        indices = batch_indices(self.position, len(self.manifest))
        labels = torch.tensor([self.manifest.labels[index] for index in indices], dtype=torch.int64)
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
        """The position; see `pipelines.position.Position`."""
        return self.position.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to that position. Raises CheckpointError when the state is of another pipeline, data set or
        run."""
        self.position = self.position.restored(state)
        self._pipeline = None

    def close(self) -> None:
        """Ends DALI's threads and frees its memory."""
        self._pipeline = self._decoded = None
        self._closed = True

    def _explained(self, error: RuntimeError) -> DataError:
        """DALI does not say which file: those that it was decoding are looked at again."""
        whole = self._keeps_decoded and self._decoded is None
        count = len(self.manifest)
        for index in range(count) if whole else batch_indices(self.position, count):
            path = Path(self.manifest.path(index))
            try:
                image = decode_rgb(str(path))
            except READ_ERRORS as problem:
                return undecodable(Failure.of(str(path), problem))
            if image.size != (self.manifest.widths[index], self.manifest.heights[index]):
                return undecodable(Failure(str(path), CHANGED))
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.startswith("Critical error")), "no reason given")
        return DataError(
            f"{self.manifest.root}: DALI stopped ({reason[:160]}); `vicreg-fast data check` finds damaged "
            "files, and --pipeline torchvision runs without DALI"
        )


__all__ = ["DaliViews", "dali_is_importable", "require_dali"]
