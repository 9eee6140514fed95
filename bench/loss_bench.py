"""`bench loss`: at every dtype and shape the gate, the memory, the floor and the times of every provider."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cache_flush import CacheFlush
from bench.loss_gate import Gate
from bench.loss_memory import followed_call
from bench.loss_profile import profile_loss
from bench.loss_providers import OFFICIAL, LossProvider
from bench.loss_rank import time_rank
from bench.loss_record import PHASES, Ceiling, LossComparison, LossMemory, LossPhase
from bench.loss_speed import Pairs, draw_views, time_losses, timing_records
from bench.record import Failure, LossRecord
from bench.record_base import without_folders
from bench.rival_losses import LossFunction
from bench.roofline import loss_floor, measure_ceiling
from vicreg_fast.errors import VICRegFastError


@dataclass(frozen=True, kw_only=True)
class LossBench:
    """What to measure."""

    providers: Sequence[tuple[LossProvider, str | None]]
    """Each with why it is not measured, None where it is."""
    shapes: tuple[tuple[int, int], ...]
    """(N, D)."""
    dtypes: tuple[torch.dtype, ...]
    device: torch.device
    phases: tuple[LossPhase, ...] = PHASES
    pairs: Pairs
    command: str
    seed: int = 0
    ranks: int = 1
    """Of more than one, each shape is also timed as the share of one of them."""
    profile: bool = False
    """Whether each of ours is profiled after it was timed."""
    cold: bool = False
    """Whether the caches are flushed before each call that is timed; a rank's share is not timed then."""

    def record(self) -> LossComparison:
        return LossComparison(
            command=self.command,
            device=self.device.type,
            dtypes=tuple(_name(dtype) for dtype in self.dtypes),
            shapes=self.shapes,
            phases=self.phases,
            pairs=self.pairs.most,
            threads=torch.get_num_threads(),
            caches="cold" if self.cold else "warm",
            baseline=OFFICIAL,
            subjects=tuple(provider.record(why) for provider, why in self.providers),
        )


class LossBenchRun:
    """Carries out a LossBench and hands over each record as it is made."""

    def __init__(
        self,
        bench: LossBench,
        write: Callable[[LossRecord | Failure], None],
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self.bench = bench
        self.refused: list[str] = []
        """`provider at N × D, dtype` of each that failed the gate."""
        self.failed: list[str] = []
        """The same of each that ended with an error."""
        self._write = write
        self._on_progress = on_progress

    def run(self) -> None:
        """Measures everything. A provider that fails at a shape is recorded, and left out there."""
        b = self.bench
        self._write(b.record())
        total = len(b.dtypes) * len(b.shapes)
        for row, dtype in enumerate(b.dtypes):
            self._on_progress(f"{_name(dtype)}: what the machine reaches", row * len(b.shapes), total)
            ceiling = measure_ceiling(dtype, b.device)
            self._write(ceiling)
            for column, (n, d) in enumerate(b.shapes):
                self._measure(n, d, dtype, ceiling, row * len(b.shapes) + column, total)

    def _measure(self, n: int, d: int, dtype: torch.dtype, ceiling: Ceiling, done: int, total: int) -> None:
        b = self.bench
        shape = f"{n} × {d}, {_name(dtype)}"
        for phase in b.phases:
            self._write(loss_floor(n, d, phase, dtype, ceiling))
        # What torch.compile keeps is by function, not by shape, and a function may have eight of it.
        torch.compiler.reset()
        x, y = draw_views(n, d, dtype, b.device, b.seed)
        gate = Gate(x, y)
        losses: dict[str, LossFunction] = {}
        roughly: dict[str, float] = {}
        for provider, why in b.providers:
            if why is None and (provider.dtypes is None or dtype in provider.dtypes):
                self._on_progress(f"{shape}: is {provider.name} the loss?", done, total)
                admitted = self._admitted(provider, gate, x, y, shape)
                if admitted is not None:
                    losses[provider.name], roughly[provider.name] = admitted
        del gate  # and the oracles' gradients
        if losses:
            self._on_progress(f"{shape}: {len(losses)} losses in turn", done, total)
            self._time(losses, roughly, x, y, shape)
        if b.ranks > 1 and n % b.ranks == 0:
            self._on_progress(f"{shape}: one rank's share of {b.ranks}", done, total)
            self._time_rank([provider for provider, _ in b.providers if provider.name in losses], n, d, dtype)
        for provider, _ in b.providers:
            if b.profile and provider.ours and provider.name in losses:
                self._on_progress(f"{shape}: where the time of {provider.name} goes", done, total)
                self._profile(provider.name, losses[provider.name], x, y, shape)

    def _time_rank(self, providers: Sequence[LossProvider], n: int, d: int, dtype: torch.dtype) -> None:
        b = self.bench
        try:
            timed = time_rank(providers, n // b.ranks, d, b.ranks, dtype, b.device, b.pairs, b.seed)
        except (RuntimeError, ArithmeticError, VICRegFastError) as error:
            self._fail("a rank's share", f"{n} × {d}, {_name(dtype)}, of {b.ranks}", error)
            return
        for record in timed:
            self._write(record)

    def _profile(self, name: str, loss: LossFunction, x: Tensor, y: Tensor, shape: str) -> None:
        try:
            self._write(profile_loss(name, loss, x, y))
        except (RuntimeError, VICRegFastError) as error:
            self._fail(name, f"profile, {shape}", error)

    def _admitted(
        self, provider: LossProvider, gate: Gate, x: Tensor, y: Tensor, shape: str
    ) -> tuple[LossFunction, float] | None:
        """The provider's loss, checked and its memory measured, and about how many seconds it takes; None
        where it may not be timed.
        """
        stage = "gate"
        try:
            loss = provider.build()
            verdict = gate.check(provider, loss)
            self._write(verdict)
            if not verdict.passed:
                self.refused.append(f"{provider.name} at {shape}")
                return None
            stage = "memory"
            # A replay holds what the capture allocated, and the capture is of the first call.
            call = followed_call(provider.build() if provider.graphed else loss, x, y)
            self._write(
                LossMemory(
                    provider=provider.name,
                    dtype=verdict.dtype,
                    device=verdict.device,
                    n=verdict.n,
                    d=verdict.d,
                    peak_bytes=call.peak_bytes,
                )
            )
        # Whatever another's code raises must not end the measurement of the others.
        except Exception as error:
            self._fail(provider.name, f"{stage}, {shape}", error)
            return None
        return loss, 0.0 if provider.graphed else call.seconds

    def _time(
        self, losses: dict[str, LossFunction], roughly: dict[str, float], x: Tensor, y: Tensor, shape: str
    ) -> None:
        b = self.bench
        try:
            flush = CacheFlush(b.device) if b.cold else None
            samples = time_losses(losses, x, y, b.pairs, roughly, flush)
        except RuntimeError as error:
            self._fail(", ".join(losses), f"timing, {shape}", error)
            return
        for provider, _ in b.providers:
            if provider.name in samples:
                for record in timing_records(provider, samples[provider.name], x, b.phases):
                    self._write(record)

    def _fail(self, name: str, stage: str, error: Exception) -> None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # All that torch.compile's first line says is that its backend raised: the second says what.
        message = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        message = without_folders(message)
        self._write(Failure(scenario=name, stage=stage, message=message))
        self.failed.append(f"{name} in {stage}: {message}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
