"""The process that loaders are measured in, so that one that crashes or hangs takes nothing else with it.

The parent gives one Order at a time and gets one Answer. In between the process says after a batch, once a
second at most, that it is alive; one that is silent for too long is taken to hang, and is killed with all the
processes below it.
"""

import multiprocessing
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import psutil
import torch

from bench.loader import LoaderSetting, measure_rate
from bench.loader_fidelity import measure_fidelity
from bench.loader_record import LoaderFidelity, LoaderRate, LoaderSubject
from pipelines.manifest import Manifest
from pipelines.workers import prepare_worker, worker_context
from vicreg_fast.errors import VICRegFastError

SECONDS_BETWEEN_BEATS = 1.0
SECONDS_TO_END = 10.0


@dataclass(frozen=True, kw_only=True)
class LoaderWork:
    """What is the same for all that one process measures."""

    manifest: Manifest
    augmentation: str
    device: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to measure: a fidelity, at the setting's image size, or a rate."""

    action: Literal["rate", "fidelity"]
    subject: LoaderSubject
    setting: LoaderSetting
    round: int = 0
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    record: LoaderRate | LoaderFidelity | None = None
    problem: str | None = None
    """One line, when the order could not be carried out."""
    details: str = ""


class LoaderProcess:
    """The parent's end. It starts the process; close it when done."""

    def __init__(self, work: LoaderWork) -> None:
        # From the fork server that loader workers come from: it has imported torch, and holds no threads.
        context = worker_context(1)
        assert context is not None
        self._connection, theirs = multiprocessing.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), name="bench-loader")  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()
        self.alive = True

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def ask(self, order: Order, *, patience: float) -> Answer:
        """Its answer. One with a `problem`, and `alive` no longer true, when the process ended or said
        nothing for `patience` seconds, and so was killed."""
        try:
            self._connection.send(order)
            while self._connection.poll(patience):
                said = self._connection.recv()
                if isinstance(said, Answer):
                    return said
        except (EOFError, OSError):
            self._process.join(timeout=10)
            code = self._process.exitcode
            self.kill()
            return Answer(problem=f"its process ended with exit code {code}")
        self.kill()
        return Answer(problem=f"no batch for {patience:g} seconds: it was taken to hang, and was killed")

    def close(self) -> None:
        """Ends the process, which when it is not idle it does after its next batch; one that takes long to is
        killed."""
        if self.alive:
            with suppress(OSError):
                self._connection.send(None)
            self._process.join(timeout=SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """Ends the process and all below it, whatever they are doing."""
        self.alive = False
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.pid).children(recursive=True)
        self._process.kill()
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, work: LoaderWork) -> None:
    prepare_worker(0)  # the parent decides what an interrupt ends, and this process ends with it
    torch.set_num_threads(1)  # as in a DataLoader's worker: what is computed here is for comparison
    while True:
        try:
            order: Order | None = connection.recv()
        except EOFError:
            order = None
        if order is None:
            return
        try:
            answer = Answer(record=_measure(order, work, _Beat(connection)))
        except _NoLongerWantedError:
            return
        except VICRegFastError as error:
            answer = Answer(problem=str(error))
        except Exception as error:  # the parent reports it; the others go on
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
            answer = Answer(problem=f"{type(error).__name__}: {lines[0]}", details=traceback.format_exc())
        connection.send(answer)


def _measure(order: Order, work: LoaderWork, beat: "_Beat") -> LoaderRate | LoaderFidelity:
    if order.action == "fidelity":
        return measure_fidelity(
            order.subject,
            work.manifest,
            order.setting.image_size,
            augmentation=work.augmentation,
            device=work.device,
            on_view=beat,
        )
    return measure_rate(
        order.subject,
        work.manifest,
        order.setting,
        augmentation=work.augmentation,
        seconds=work.seconds,
        device=work.device,
        round=order.round,
        position=order.position,
        on_batch=beat,
    )


class _NoLongerWantedError(Exception):
    """The parent wants no answer any more."""


class _Beat:
    """Tells the parent that there is progress, once a second at most, and asks whether it still waits for an
    answer. Raises _NoLongerWantedError when it does not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = time.monotonic()

    def __call__(self) -> None:
        if self._connection.poll():  # while an order is carried out, all that can come is the end
            raise _NoLongerWantedError
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_BEATS:
            self._last = now
            self._connection.send(None)
