"""One training step: normalise, two forwards, loss, backward, schedule, optimiser.

What a bench scenario changes is passed in: the loss, the optimiser, the precision, the memory format. The
recipe's own are the defaults, so that `pretrain` and the bench run the same code.
"""

import gc
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from pipelines.contract import ViewBatch
from vicreg_fast.config import Recipe
from vicreg_fast.distributed import SINGLE, Ranks
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegLoss, VICRegTerms
from vicreg_fast.model import Normalize, TwoViewNetwork, build_network, convert_sync_batchnorm
from vicreg_fast.training.allocator import keep_memory, keep_obstacle
from vicreg_fast.training.capture import CapturedStep, CudaRecorder, Recorder, Views, capture_obstacle
from vicreg_fast.training.optimizers import (
    build_optimizer,
    load_optimizer_state,
    set_learning_rate,
    takes_tensor_rate,
)
from vicreg_fast.training.parallel_views import ParallelViews, parallel_obstacle
from vicreg_fast.training.precision import resolve_precision
from vicreg_fast.training.schedule import Schedule

_PARAMETERS = inspect.signature(DistributedDataParallel.__init__).parameters
# torch 2.15 gave it another name, and warns of the old one.
_NO_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _PARAMETERS else "broadcast_buffers": False
}

LossFunction = Callable[[Tensor, Tensor], tuple[Tensor, VICRegTerms]]
"""(N, D) embeddings twice → the scalar to minimise and its terms, detached."""

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def recipe_loss(recipe: Recipe) -> LossFunction:
    """The recipe's VICReg loss, with its terms."""
    module = VICRegLoss(
        preset=recipe.preset,
        invariance_weight=recipe.invariance_weight,
        variance_weight=recipe.variance_weight,
        covariance_weight=recipe.covariance_weight,
        gamma=recipe.gamma,
        form=recipe.loss_form,
        backend=recipe.loss_backend,
    )
    return lambda x, y: module(x, y, return_terms=True)


class TrainingStep:
    """Network, loss, optimiser and schedule on one device, and on every rank of a process group. Calling it
    with a step's micro-batches trains one step and returns the loss and its terms.

    Nothing is read back to the host: the returned tensors stay on the device. An optimiser that takes its
    rate from Python has its schedule on the CPU, where reading it waits for nothing.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        steps_per_epoch: int,
        loss: LossFunction | None = None,
        make_optimizer: Callable[[Recipe, nn.Module], optim.Optimizer] = build_optimizer,
        ranks: Ranks = SINGLE,
        capture: Literal["auto", "on", "off"] | None = None,
        dtype: torch.dtype = torch.float32,
        recorder: Recorder | None = None,
    ) -> None:
        """`capture` is the recipe's unless given; `dtype` is that of weights and images; `recorder` takes the
        place of CUDA graphs, on any device. With several ranks the process group must be the default one,
        which the loss exchanges over. Raises UsageError when the recipe asks for what the device cannot do.
        """
        recipe, _ = resolve_precision(recipe, device)
        self.recipe = recipe
        self.device = device
        self.ranks = ranks
        if recipe.keep_memory == "auto" and keep_obstacle(device) is None:
            keep_memory()
        self.memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        if device.type == "cuda":
            # As official `main_vicreg.py:main`: shapes never change, so the fastest convolution is looked for
            # once. The whole process's, which trains one network.
            torch.backends.cudnn.benchmark = True
        torch.manual_seed(recipe.seed)
        self.network: TwoViewNetwork = build_network(recipe)
        self.network.to(device=device, dtype=dtype, memory_format=self.memory_format)  # type: ignore[call-overload]
        if recipe.sync_batchnorm:
            convert_sync_batchnorm(self.network, ranks)
        self.network.train()
        self.normalize = Normalize(dtype).to(device)
        self.loss = loss or recipe_loss(recipe)
        self.optimizer = make_optimizer(recipe, self.network)
        self._rate_on_device = takes_tensor_rate(self.optimizer)
        self.schedule = Schedule(
            recipe, steps_per_epoch, device if self._rate_on_device else torch.device("cpu")
        )
        if self._rate_on_device:
            set_learning_rate(self.optimizer, self.schedule.learning_rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._captured = self._capturing(capture or recipe.capture, recorder)
        self._wrap()
        self._views = self._parallel_views()

    @property
    def capture_note(self) -> str | None:
        """One line: why the step is not captured although that was allowed, on a GPU; else None."""
        return self._captured.note if self._captured is not None else self._obstacle

    @property
    def steps_before_replay(self) -> int:
        """Steps that still run eagerly, to warm up for the capture; 0 where there is none."""
        return self._captured.left_to_warm_up if self._captured is not None else 0

    @property
    def step_count(self) -> Tensor:
        """0-d int64: steps done."""
        return self.schedule.step_count

    @property
    def learning_rate(self) -> Tensor:
        """0-d float32: the rate of the last step, 0 before the first."""
        return self.schedule.learning_rate

    def hold_learning_rate(self, rate: float) -> None:
        """Every later step has this rate, whatever the schedule says."""
        self.schedule.hold(rate)

    def __call__(self, batches: Sequence[ViewBatch]) -> tuple[Tensor, VICRegTerms]:
        """`batches` are the recipe's `accumulate` micro-batches of this rank, uint8 on any device. Returns
        the mean of their losses and of their terms over all ranks: detached 0-d tensors.
        """
        if len(batches) != self.recipe.accumulate:
            raise ValueError(f"{len(batches)} micro-batches given; accumulate = {self.recipe.accumulate}")
        if self._captured is not None:
            return self._captured(batches)
        return self._train([(batch.view_1, batch.view_2) for batch in batches])

    def _train(self, batches: Sequence[Views]) -> tuple[Tensor, VICRegTerms]:
        # To None, so that the first backward writes gradients where it would else have to add to zeros; in a
        # capture, so that they belong to the graph.
        self._drop_gradients()
        results = []
        for place, views in enumerate(batches):
            with self._exchange(last=place == len(batches) - 1):
                with record_function("forward"):
                    loss, terms = self._loss_of(*views)
                results.append((loss.detach(), *terms))
                with record_function("backward"):
                    self.scaler.scale(loss / len(batches) if len(batches) > 1 else loss).backward()
                    if self._views is not None:
                        self._views.backward()
        with record_function("optimizer"):
            self.schedule.advance()
            if not self._rate_on_device:
                set_learning_rate(self.optimizer, float(self.schedule.learning_rate))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if len(results) == 1:
            return results[0][0], terms
        loss, *means = (torch.stack(values).mean() for values in zip(*results, strict=True))
        return loss, VICRegTerms(*means)

    def _loss_of(self, view_1: Tensor, view_2: Tensor) -> tuple[Tensor, VICRegTerms]:
        if self._views is not None:
            z_1, z_2 = self._views(view_1, view_2)
            with self._autocast():
                return self.loss(z_1, z_2)
        images_1, images_2 = self._prepared(view_1), self._prepared(view_2)
        with self._autocast():
            z_1, z_2 = self._forward(images_1, images_2)
            # Inside autocast, so that a loss of plain operations gets what the official code's gets; ours
            # switches it off.
            return self.loss(z_1, z_2)

    def _prepared(self, view: Tensor) -> Tensor:
        images: Tensor = self.normalize(view.to(self.device, non_blocking=True))
        return images.contiguous(memory_format=self.memory_format)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = AUTOCAST_DTYPES.get(self.recipe.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext()

    def _exchange(self, *, last: bool) -> AbstractContextManager[Any]:
        """Ranks average the gradients of a step once, in the backward of its last micro-batch."""
        return nullcontext() if last or self._parallel is None else self._parallel.no_sync()

    def _wrap(self) -> None:
        """Makes `_forward`, the network as the step calls it. `network` stays bare: a checkpoint's names are
        the same however it was trained.
        """
        self._parallel: DistributedDataParallel | None = None
        if self.ranks.world_size > 1:
            # It keeps the stream that it is made on for its gradients, which has to be the capture's.
            make = self._make_parallel
            self._parallel = make() if self._recorder is None else self._recorder.eagerly(make)
        network: nn.Module = self._parallel or self.network
        self._forward = torch.compile(network) if self.recipe.compile else network

    def _parallel_views(self) -> ParallelViews | None:
        """None where the two views go one after the other."""
        recipe = self.recipe
        apart = recipe.parallel_views == "auto" and recipe.forward == "separate" and not recipe.compile
        if (
            not apart
            or self.ranks.world_size > 1
            or self._recorder is not None
            or parallel_obstacle(self.device)
        ):
            return None
        return ParallelViews(self.network, self._prepared, self._autocast)

    def _make_parallel(self) -> DistributedDataParallel:
        return DistributedDataParallel(
            self.network,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            process_group=self.ranks.group,
            gradient_as_bucket_view=True,
            # Running statistics, which no forward in training reads. With SyncBatchNorm ranks have the same;
            # without, rank 0's are those that are saved, broadcast or not.
            **_NO_BUFFERS,
        )

    def _capturing(self, wanted: str, recorder: Recorder | None) -> CapturedStep | None:
        """None where the step is not to be captured, or cannot be, which `_obstacle` then tells of."""
        self._obstacle: str | None = None
        self._recorder = None
        if wanted == "off":
            return None
        obstacle = None if recorder else capture_obstacle(self.recipe, self.device, self.optimizer)
        if obstacle is not None:
            if wanted == "on":
                raise UsageError(f"capture = 'on': {obstacle}; use capture=auto or capture=off")
            if self.device.type == "cuda":
                self._obstacle = f"the step runs eagerly: {obstacle}"
            return None
        self._recorder = recorder or CudaRecorder(self.device)
        return CapturedStep(
            self._train,
            self.device,
            self._recorder,
            ranks=self.ranks,
            required=wanted == "on",
            release=self._drop_gradients,
            recover=self._recover,
        )

    def _drop_gradients(self) -> None:
        self.network.zero_grad(set_to_none=True)

    def _recover(self) -> None:
        """After a step that was broken off before anything of it was computed: the scaler may have counted
        it, and DistributedDataParallel may wait for gradients.
        """
        self._drop_gradients()
        scaler = self.scaler
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaler.is_enabled())
        self.scaler.load_state_dict(scaler.state_dict())
        del self._parallel, self._forward
        gc.collect()  # tracebacks keep the broken graph's memory, and the hooks of what is wrapped anew
        self._wrap()

    def close(self) -> None:
        """Gives the captured graph back. Call it before the process group is destroyed: NCCL waits, for ever,
        for the graphs that hold its exchanges (https://github.com/pytorch/pytorch/issues/115388).
        """
        if self._captured is not None:
            self._captured.forget()
        if self._views is not None:
            self._views.close()
            self._views = None

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, scaler and schedule: tensors, numbers and strings only."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_optimizer_state(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        if self._captured is not None:
            self._captured.forget()  # loading an optimiser's state gives it other tensors
