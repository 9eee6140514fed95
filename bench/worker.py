"""A scenario's own process: it holds the pipeline, the network and their memory, and measures when it is told
to.

The parent sends one Order at a time and gets one Answer, before it Notes of how far it is. Between orders the
worker is idle: its loader's queues are full and its threads sleep.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.energy import Meter, energy_record, open_meter
from bench.idle import wait_until_idle
from bench.limits_record import StepWork, TraceShares
from bench.memory import PeakMemory, host_bytes
from bench.orders import Answer, Note, Order, Setup
from bench.record import Memory, Record, Startup, Throughput
from bench.roofline import measure_ceilings
from bench.scenarios import build_scenario
from bench.step_work import step_work
from bench.timing import StepTimer
from bench.trace import record_trace
from bench.worker_process import serve_orders
from pipelines.manifest import Manifest, load_manifest
from vicreg_fast.training.loop import Trainer


def serve(connection: Connection, setup: Setup) -> None:
    """The process's main: answers orders until the pipe closes."""
    if setup.scratch is not None:
        # Not the cache of all torch processes: what one that was killed left half written would fail here.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(setup.scratch / setup.scenario))
    worker = _Worker(setup, tell=lambda text: connection.send(Note(text=text)))

    def rest() -> None:
        worker.rest()
        wait_until_idle()  # whoever is asked next has the cores to itself

    serve_orders(connection, worker.answer, rest)
    worker.close()


def gpu_uuid(device: torch.device) -> str | None:
    """As NVML writes it; None for a device that is no GPU."""
    if device.type != "cuda":
        return None
    return "GPU-" + str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")


@dataclass
class _Worker:
    setup: Setup
    tell: Callable[[str], None]
    _manifest: Manifest | None = None
    _timer: tuple[Trainer, StepTimer] | None = None
    _startup: Startup | None = None
    """Until it is sent, with the first measurement that needs a step."""
    _started: bool = False
    _host_before: int = field(default_factory=host_bytes)

    def __post_init__(self) -> None:
        self.device = torch.device(self.setup.device)
        self.built = build_scenario(self.setup.scenario, self.setup.recipe, self.device)
        self.meter: Meter | None = open_meter(self.device.type, gpu_uuid(self.device))[0]

    def answer(self, order: Order) -> Answer:
        records = self._measure(order)
        startup, self._startup = self._startup, None
        return Answer(records=records if startup is None else (startup, *records))

    def _measure(self, order: Order) -> tuple[Record, ...]:
        if order.action == "throughput":
            return self._throughput(order)
        if order.action == "memory":
            return (self._memory(order),)
        if order.action == "work":
            return (self._work(),)
        if order.action == "ceilings":
            return tuple(measure_ceilings(order.dtypes, self.device))
        assert order.folder is not None
        return (self._trace(order.folder),)

    def close(self) -> None:
        if self._timer is not None:
            trainer, timer = self._timer
            timer.close()
            trainer.close()
            self._timer = None

    def rest(self) -> None:
        """Leaves the device and the cores to others. Where a GPU is crowded, gives back what torch keeps for
        later, the captured graph's memory with it: the step is warmed up and captured anew before it is timed
        again."""
        if self._timer is not None:
            self._timer[1].rest()
        if self.setup.crowded and self.device.type == "cuda":
            if self._timer is not None:
                self._timer[0].train_step.close()
            torch.cuda.empty_cache()

    def _throughput(self, order: Order) -> tuple[Record, ...]:
        _, timer = self._open_timer()
        windows = timer.windows(order.mode, steps_per_window=order.steps_per_window, windows=order.windows)
        timed = Throughput(
            scenario=self.setup.scenario,
            mode=order.mode,
            round=order.round,
            position=order.position,
            pid=os.getpid(),
            batch_size=self.built.recipe.batch_size,
            image_size=self.built.recipe.image_size,
            steps_per_window=windows.steps,
            window_seconds=windows.seconds,
            loader_wait_seconds=windows.loader_wait_seconds,
        )
        if self.meter is None:
            return (timed,)
        drawn = energy_record(
            self.meter,
            scenario=timed.scenario,
            mode=timed.mode,
            round=timed.round,
            joules=windows.joules,
            window_seconds=timed.window_seconds,
            pairs_per_window=timed.batch_size * timed.steps_per_window,
        )
        return timed, drawn

    def _work(self) -> StepWork:
        trainer, timer = self._open_timer()
        return step_work(self.built, trainer.train_step, timer.cached)

    def _trace(self, folder: Path) -> TraceShares:
        _, timer = self._open_timer()
        timer.prepare("end-to-end")
        return record_trace(self.setup.scenario, lambda: timer.step("end-to-end"), self.device, folder)

    def _memory(self, order: Order) -> Memory:
        """Peaks over building everything and the first steps, unless the timer is open already: memory is
        asked for first."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        with PeakMemory(with_device=on_gpu) as peak:
            _, timer = self._open_timer()
            timer.windows("end-to-end", steps_per_window=order.steps_per_window, windows=order.windows)
        return Memory(
            scenario=self.setup.scenario,
            pid=os.getpid(),
            host_before_bytes=self._host_before,
            host_peak_bytes=peak.host_bytes,
            device_allocated_peak_bytes=torch.cuda.max_memory_allocated(self.device) if on_gpu else None,
            device_reserved_peak_bytes=torch.cuda.max_memory_reserved(self.device) if on_gpu else None,
            device_process_peak_bytes=peak.device_process_bytes,
        )

    def _open_manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = load_manifest(self.setup.data)
        return self._manifest

    def _open_timer(self) -> tuple[Trainer, StepTimer]:
        if self._timer is None:
            began = time.perf_counter()
            trainer = Trainer(
                self.built.recipe,
                self._open_manifest(),
                self.device,
                loss=self.built.loss,
                make_optimizer=self.built.make_optimizer,
            )
            timer = StepTimer(trainer, self.built.record.workers, self.meter)
            self._timer = trainer, timer
            timer.first_step()
            if not self._started:  # another would find what the first one loaded and compiled
                self._started = True
                seconds = time.perf_counter() - began
                self._startup = Startup(scenario=self.setup.scenario, seconds=seconds)
        return self._timer
