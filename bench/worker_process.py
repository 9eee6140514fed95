"""A measuring process and its parent's end: orders go one way, answers the other.

A worker that is killed, ends by itself or does not answer gives its parent an answer with a `problem`, in one
line, and is asked no more. How long to wait for an answer follows from how long others took.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Generic, Protocol, TypeVar

import psutil

from bench.orders import Answer, Note
from pipelines.workers import end_with_parent
from vicreg_fast.errors import VICRegFastError

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 30.0


class AnyOrder(Protocol):
    """What a worker is asked to measure."""

    @property
    def kind(self) -> str:
        """Orders of one kind take about as long as each other."""


OrderT = TypeVar("OrderT", bound=AnyOrder)
SetupT = TypeVar("SetupT")


@dataclass
class Patience:
    """How long a worker may be silent before it counts as hung, in seconds.

    At a worker's first measurement of a kind it builds, compiles and tunes: that may take `first`. Later
    ones are given `factor` times the longest silence that their kind had in any worker, and `least` at
    least.
    """

    first: float = 1800.0
    least: float = 120.0
    factor: float = 20.0
    awaited: str = "answer"
    """What there was none of, in words."""
    _longest: dict[str, float] = field(default_factory=dict)
    _known: set[tuple[str, str]] = field(default_factory=set)

    def limit(self, worker: str, kind: str) -> float:
        if (worker, kind) not in self._known:
            return self.first
        return max(self.least, self.factor * self._longest[kind])

    def note(self, worker: str, kind: str, silence: float) -> None:
        """It answered, after having been silent for so long."""
        self._known.add((worker, kind))
        self._longest[kind] = max(silence, self._longest.get(kind, 0.0))

    def lost(self, kind: str, limit: float) -> str:
        """What became of one that was silent for longer, in words."""
        before = self._longest.get(kind)
        usual = f", where others took {round(before, 1):g} s at most" if before is not None else ""
        return f"it hung: no {self.awaited} for {round(limit, 1):g} s{usual}; its process was killed"


class WorkerProcess(Generic[OrderT]):
    """A worker, started: `main`, given its end of a pipe and `setup`. It ends when told to, or with the
    process that started it."""

    def __init__(
        self,
        name: str,
        main: Callable[[Connection, SetupT], None],
        setup: SetupT,
        patience: Patience,
        *,
        context: BaseContext | None = None,
    ) -> None:
        """`context` is how the process starts; spawned, if None."""
        self.name = name
        self.alive = True
        self._patience = patience
        context = context or multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_run, args=(main, theirs, setup), name=f"bench-{name}"
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ask(self, order: OrderT, on_note: Callable[[str], None] = lambda _: None) -> Answer:
        """Its answer; one with a `problem` when it ended or hung instead of answering. `on_note` gets what it
        tells meanwhile."""
        limit = self._patience.limit(self.name, order.kind)
        longest = 0.0
        try:
            self._connection.send(order)
            while True:
                silent_since = time.monotonic()
                if not self._hears(silent_since + limit):
                    self.alive = False
                    self._kill()
                    return Answer(problem=self._patience.lost(order.kind, limit))
                message: Answer | Note = self._connection.recv()
                longest = max(longest, time.monotonic() - silent_since)
                if isinstance(message, Answer):
                    self._patience.note(self.name, order.kind, longest)
                    return message
                on_note(message.text)
        except (EOFError, OSError):
            return self._ended()

    def tell_to_end(self, *, at_once: bool) -> None:
        """`close` waits until it has."""
        if at_once:
            self._process.terminate()
        else:
            with suppress(OSError):
                self._connection.send(None)

    def close(self) -> None:
        self.alive = False
        self._process.join(timeout=SECONDS_TO_END)
        self._kill()
        self._connection.close()

    def _hears(self, deadline: float) -> bool:
        """Whether a message is there before the deadline. Raises EOFError when the worker is gone: its pipe
        need not close, as a process of its own may hold it too."""
        while (left := deadline - time.monotonic()) > 0:
            if self._connection.poll(min(left, SECONDS_BETWEEN_LOOKS)):
                return True
            if not self._process.is_alive() and not self._connection.poll():
                raise EOFError
        return False

    def _ended(self) -> Answer:
        self.alive = False
        self._process.join(timeout=10)
        code = self._process.exitcode
        if code is None:
            self._kill()
            return Answer(problem="its process closed its pipe, and was killed")
        if code >= 0:
            return Answer(problem=f"its process ended with exit code {code}")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        memory = ", as the kernel does when memory runs out" * (-code == signal.SIGKILL)
        return Answer(problem=f"its process was killed by {name}{memory}")

    def _kill(self) -> None:
        """Ends it and all below it, whatever they are doing."""
        if not self._process.is_alive():
            return
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.pid).children(recursive=True)
        self._process.kill()
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.join()


def _run(main: Callable[[Connection, SetupT], None], connection: Connection, setup: SetupT) -> None:
    """The process's own main."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # where it was forked, it has its parent's handler
    end_with_parent()
    main(connection, setup)


def serve_orders(
    connection: Connection, answer: Callable[[OrderT], Answer], rest: Callable[[], None] = lambda: None
) -> None:
    """The worker's end: answers orders until there are no more. What goes wrong at one is its answer's
    problem. `rest` is called before an answer is sent, and so before another worker is asked."""
    while True:
        try:
            order: OrderT | None = connection.recv()
        except EOFError:
            order = None
        if order is None:
            return
        try:
            answered = answer(order)
        except VICRegFastError as error:
            answered = Answer(problem=str(error))
        except Exception as error:  # the parent reports it; others go on
            line = (str(error).strip().splitlines() or [""])[0]
            answered = Answer(problem=f"{type(error).__name__}: {line}")
        rest()
        connection.send(answered)
