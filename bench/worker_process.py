"""The parent's end of a worker: it is asked, and what becomes of it is told in one line.

A worker that is killed, ends by itself or does not answer gives an answer with a `problem`, and is asked no
more. How long to wait for an answer follows from how long others took.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from bench.orders import Answer, Note, Order, Setup
from pipelines.workers import end_with_parent

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 30.0


@dataclass
class Patience:
    """How long a worker may be silent before it counts as hung, in seconds.

    At a scenario's first measurement of a kind it builds, compiles and tunes: that may take `first`. Later
    ones are given `factor` times the longest silence that their kind had in any scenario, and `least` at
    least.
    """

    first: float = 1800.0
    least: float = 120.0
    factor: float = 20.0
    _longest: dict[str, float] = field(default_factory=dict)
    _known: set[tuple[str, str]] = field(default_factory=set)

    def limit(self, scenario: str, kind: str) -> float:
        if (scenario, kind) not in self._known:
            return self.first
        return max(self.least, self.factor * self._longest[kind])

    def longest(self, kind: str) -> float | None:
        """The longest silence so far; None before any."""
        return self._longest.get(kind)

    def note(self, scenario: str, kind: str, silence: float) -> None:
        """It answered, after having been silent for so long."""
        self._known.add((scenario, kind))
        self._longest[kind] = max(silence, self._longest.get(kind, 0.0))


class WorkerProcess:
    """A worker, started: `main`, given its end of a pipe. It ends when told to, or with the process that
    started it."""

    def __init__(
        self,
        setup: Setup,
        patience: Patience,
        main: Callable[[Connection, Setup], None],
    ) -> None:
        self.scenario = setup.scenario
        self.alive = True
        self._patience = patience
        context = multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_run, args=(main, theirs, setup), name=f"bench-{setup.scenario}"
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ask(self, order: Order, on_note: Callable[[str], None] = lambda _: None) -> Answer:
        """Its answer; one with a `problem` when it ended or hung instead of answering. `on_note` gets what it
        tells meanwhile."""
        kind = f"{order.action} {order.mode}"
        limit = self._patience.limit(self.scenario, kind)
        longest = 0.0
        try:
            self._connection.send(order)
            while True:
                silent_since = time.monotonic()
                if not self._hears(silent_since + limit):
                    return self._hung(kind, limit)
                message: Answer | Note = self._connection.recv()
                longest = max(longest, time.monotonic() - silent_since)
                if isinstance(message, Answer):
                    self._patience.note(self.scenario, kind, longest)
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
        self._process.join(timeout=SECONDS_TO_END)
        self._kill()
        self._connection.close()

    def _hears(self, deadline: float) -> bool:
        """Whether a message is there before the deadline. Raises EOFError when the worker is gone: its pipe
        need not close, as a process of its own may hold it too."""
        while time.monotonic() < deadline:
            if self._connection.poll(SECONDS_BETWEEN_LOOKS):
                return True
            if not self._process.is_alive() and not self._connection.poll():
                raise EOFError
        return False

    def _hung(self, kind: str, limit: float) -> Answer:
        self.alive = False
        self._kill()
        before = self._patience.longest(kind)
        usual = f", where others took {before:.0f} s at most" if before is not None else ""
        return Answer(problem=f"it hung: no answer for {limit:.0f} s{usual}; its process was killed")

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
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _run(main: Callable[[Connection, Setup], None], connection: Connection, setup: Setup) -> None:
    """The process's own main."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    end_with_parent()
    main(connection, setup)
