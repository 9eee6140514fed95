"""A training step in one CUDA graph: warmed up, captured, replayed.

The first steps run eagerly, so that what a step makes once (the optimiser's state, compiled code, tuned
kernels, the buckets of DistributedDataParallel) is made before the capture. They are steps of the training
like any other: none is lost or repeated, since a capture computes nothing. They and the capture run on one
stream of their own, which the current stream waits for and which waits for it; replays run on the current
stream.

What a captured step reads must be where it was when it was captured. So batches are copied into buffers, the
schedule counts on the device, and a step whose optimiser was given other tensors is captured anew.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, optim

from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe
from vicreg_fast.distributed import Ranks
from vicreg_fast.distributed.control import share_states
from vicreg_fast.errors import TrainingError
from vicreg_fast.loss import VICRegTerms
from vicreg_fast.training.optimizers import takes_tensor_rate

WARMUP_STEPS = 3
WARMUP_STEPS_OF_RANKS = 11
"""DistributedDataParallel rebuilds its buckets after the first, and times its first ten."""

Views = tuple[Tensor, Tensor]
Outcome = tuple[Tensor, VICRegTerms]
Made = TypeVar("Made")


class Recorder(Protocol):
    """Where a step runs, and what makes a graph of it."""

    def eagerly(self, work: Callable[[], Made]) -> Made:
        """What `work` returns, ready for what is called next."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], Any], Tensor]:
        """A call that repeats what `work` does, and the tensor it writes each time. `work` is called, and
        changes nothing on the device. Raises what keeps it from being recorded.
        """
        ...


class CudaRecorder:
    """A stream of its own, and CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def eagerly(self, work: Callable[[], Made]) -> Made:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            made = work()
        current.wait_stream(self._stream)
        return made

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], Any], Tensor]:
        graph = torch.cuda.CUDAGraph()
        cause: Exception | None = None
        try:
            # The threads of the pipeline and of NCCL call CUDA meanwhile, which is none of this capture's.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                try:
                    written = work()
                except Exception as error:
                    cause = error
                    raise
        except Exception as error:
            raise cause or error from None  # to end a broken capture raises again, and hides why it broke
        return graph.replay, written


class CapturedStep:
    """`train`, run eagerly a few times, then captured and replayed; eagerly on where that fails.

    `release` drops the gradients; `recover` mends what a capture that was broken off left half done.
    """

    def __init__(
        self,
        train: Callable[[Sequence[Views]], Outcome],
        device: torch.device,
        recorder: Recorder,
        *,
        ranks: Ranks,
        required: bool,
        release: Callable[[], None],
        recover: Callable[[], None],
    ) -> None:
        self._train = train
        self._device = device
        self._recorder = recorder
        self._ranks = ranks
        self._required = required
        self._release = release
        self._recover = recover
        self.left_to_warm_up = self._warmup_steps
        self._buffers: list[Views] | None = None
        self._replay: Callable[[], Any] | None = None
        self._written: Tensor | None = None
        self.note: str | None = None
        """Why the step runs eagerly after a capture that failed."""

    def __call__(self, batches: Sequence[ViewBatch]) -> Outcome:
        """Raises TrainingError where a capture is required and fails, ValueError for batches of other shapes
        than the first ones.
        """
        views = self._filled(batches)
        if self.left_to_warm_up == 0 and self._replay is None and self.note is None:
            self._capture(views)
        if self._replay is None:
            self.left_to_warm_up = max(0, self.left_to_warm_up - 1)
            return self._recorder.eagerly(lambda: self._train(views))
        self._replay()
        assert self._written is not None
        # A copy, which the next replay does not write over.
        loss, *terms = self._written.clone().unbind()
        return loss, VICRegTerms(*terms)

    def forget(self) -> None:
        """The tensors of the step are others from now on: it is warmed up and captured anew."""
        self._replay = self._written = None
        self.left_to_warm_up = self._warmup_steps

    @property
    def _warmup_steps(self) -> int:
        return WARMUP_STEPS if self._ranks.world_size == 1 else WARMUP_STEPS_OF_RANKS

    def _filled(self, batches: Sequence[ViewBatch]) -> list[Views]:
        given = [(batch.view_1, batch.view_2) for batch in batches]
        if self._buffers is None:
            self._buffers = [
                (torch.empty_like(x, device=self._device), torch.empty_like(y, device=self._device))
                for x, y in given
            ]
        for buffers, views in zip(self._buffers, given, strict=True):
            for buffer, view in zip(buffers, views, strict=True):
                if (view.shape, view.dtype) != (buffer.shape, buffer.dtype):
                    raise ValueError(
                        f"a view is {tuple(view.shape)} {view.dtype}, where the step was made for "
                        f"{tuple(buffer.shape)} {buffer.dtype}"
                    )
                buffer.copy_(view, non_blocking=True)
        return self._buffers

    def _capture(self, views: list[Views]) -> None:
        def work() -> Tensor:
            loss, terms = self._train(views)
            return torch.stack((loss, *terms))

        problem: str | None = None
        # What is left of the last eager step would take up memory beside the graph's own.
        self._release()
        try:
            self._replay, self._written = self._recorder.record(work)
        except Exception as error:
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        # Ranks that replay and ranks that do not would do, but nobody would know what was measured.
        problems = share_states(problem, self._ranks)
        if any(problems):
            rank, problem = next((r, p) for r, p in enumerate(problems) if p)
            where = f" on rank {rank}" if len(problems) > 1 else ""
            self._replay = self._written = None
            self._recover()
            if self._required:
                raise TrainingError(
                    f"capture = 'on', and the capture of the step failed{where} ({problem}); use capture=auto"
                )
            self.note = f"the step runs eagerly: its capture failed{where} ({problem})"


def capture_obstacle(recipe: Recipe, device: torch.device, optimizer: optim.Optimizer) -> str | None:
    """Why a step of these cannot be captured, with the mend where there is one; None where it may be."""
    name = type(optimizer).__name__
    if device.type != "cuda":
        return f"CUDA graphs need CUDA, and the device is {device.type}"
    if not takes_tensor_rate(optimizer):
        return f"{name} takes its learning rate from the host; optimizer=lars, adamw and sgd do not"
    if recipe.precision == "fp16" and not getattr(optimizer, "_step_supports_amp_scaling", False):
        return (
            f"with {name} the loss scaler of precision=fp16 waits for the device each step; "
            "precision=bf16 needs none, and optimizer=adamw and sgd do not wait"
        )
    return None
