"""A process of its own for each part of a proof, in a session of its own, so that all it starts can be ended.

It comes from a fork server that has imported what parts need, once for all of them; the server itself touches
no GPU. This side imports no torch: a proof's parent is small, and stays alive whatever a part does.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Generic, TypeVar

PRELOADED = ("bench.worker", "bench.comparison", "bench.loss_bench", "bench.loader_bench")
GRACE = 15.0
"""Seconds that a part has to end by itself after a SIGTERM."""
SECONDS_BETWEEN_LOOKS = 0.2

JobT = TypeVar("JobT")


def fork_server(preload: tuple[str, ...] = PRELOADED) -> BaseContext:
    """How parts start. Nothing is started yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


class PartProcess(Generic[JobT]):
    """A process, started: `main`, given `job`. Its result is asked for with `wait`.

    Its standard output and error go to `log`. It ends with the process that started it, even by SIGKILL, and
    what it started with it.
    """

    def __init__(
        self, context: BaseContext, main: Callable[[JobT], Any], job: JobT, log: Path | None = None
    ) -> None:
        self._connection: Connection
        self._connection, theirs = context.Pipe(duplex=False)
        self._process: Any = context.Process(  # type: ignore[attr-defined]
            target=_run, args=(main, job, theirs, log, dict(os.environ)), name="proof-part"
        )
        self._process.start()
        theirs.close()

    def wait(self, seconds: float, stop: Callable[[], bool], on_look: Callable[[], None]) -> tuple[str, Any]:
        """(`returned`, what `main` returned), (`ended`, the exit code), (`late`, None) or (`stopped`, None).

        After the latter two it still runs: `end` it. `on_look` is called a few times a second.
        """
        deadline = time.monotonic() + seconds
        while True:
            on_look()
            if self._connection.poll(SECONDS_BETWEEN_LOOKS):
                try:
                    returned = self._connection.recv()
                except (EOFError, OSError):
                    return "ended", self._code()
                self._process.join(timeout=GRACE)
                return "returned", returned
            if not self._process.is_alive() and not self._connection.poll():
                return "ended", self._code()
            if stop():
                return "stopped", None
            if time.monotonic() > deadline:
                return "late", None

    def end(self) -> None:
        """Ends it and whatever it started: with SIGTERM, and what is left of its session with SIGKILL."""
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)
            wait([self._process.sentinel], timeout=GRACE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._connection.close()

    def _code(self) -> int | None:
        self._process.join(timeout=GRACE)
        code: int | None = self._process.exitcode
        return code


def _run(
    main: Callable[[JobT], Any],
    job: JobT,
    connection: Connection,
    log: Path | None,
    environment: dict[str, str],
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_the_session_with_the_parent, daemon=True).start()
    os.environ.update(environment)  # the fork server may be older than what was set in it since
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        connection.send(main(job))


def _interrupt(number: int, frame: Any) -> None:
    """As Ctrl-C does, so that what runs cleans up behind it; once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_the_session_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(os.getpid(), signal.SIGKILL)


__all__ = ["PRELOADED", "PartProcess", "fork_server"]
