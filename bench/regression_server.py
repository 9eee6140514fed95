"""The parent's end of `bench/suite_loss/server.py`: orders to one side, and its answers."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

SILENCE_SECONDS = 300.0
"""After which a side that says nothing is given up."""
SERVER = Path(__file__).with_name("suite_loss") / "server.py"

Message = dict[str, Any]


class SideError(Exception):
    """A side cannot go on; in one line."""


class SideServer:
    """A process that measures one checkout. A context: leaving it ends the process."""

    def __init__(self, name: str, *, head: Path, subject: Path, cases: Path | None, threads: int) -> None:
        """Starts it, and does not wait until it is ready. `subject` is the folder of its `vicreg_fast`."""
        self.name = name
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self._errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (closed when the process is)
        command = [sys.executable, "-P", str(SERVER), str(theirs.fileno()), str(head), str(subject)]
        with theirs:
            self._process = subprocess.Popen(
                command + ([str(cases)] if cases else []),
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "KINETO_LOG_LEVEL": "5"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # an interrupt from the terminal is the parent's to handle
            )

    def __enter__(self) -> "SideServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, order: Message) -> None:
        """Raises SideError where the process has ended."""
        try:
            self._connection.send_bytes(json.dumps(order).encode())
        except OSError:
            raise SideError(f"{self.name}: {self._end()}") from None

    def ask(self, order: Message) -> Message:
        """The answer to an order without cases. Raises SideError where there is none."""
        self.send(order)
        answers = [*self._answers()]
        for answer in answers:
            if "problem" in answer:
                raise SideError(f"{self.name}: {answer['problem']}")
        return answers[0]

    def ask_cases(self, order: Message) -> Iterator[Message]:
        """An answer for each of the order's cases, in their order. A case at which the measuring child died
        has that as its problem, and another child goes on behind it. Raises SideError where the server itself
        ended or went silent."""
        waiting = list(order["cases"])
        while waiting:
            self.send({**order, "cases": waiting})
            for answer in self._answers():
                yield {"case": waiting.pop(0)["name"], **answer}

    def _answers(self) -> Iterator[Message]:
        """Those to the last order; the end of a child that died is the last one, as a problem."""
        while True:
            try:
                if not self._connection.poll(SILENCE_SECONDS):
                    self._process.kill()
                    raise SideError(f"{self.name}: no answer within {SILENCE_SECONDS:.0f} s")
                message: Message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                raise SideError(f"{self.name}: {self._end()}") from None
            if "ended" not in message:
                yield message
                continue
            if message["ended"]:
                yield {"problem": f"its process ended with exit code {message['ended']}"}
            return

    def close(self) -> None:
        """Ends the process, which kills the child it waits for."""
        self._connection.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _end(self) -> str:
        """Why the process ended: the last line it wrote."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with exit code {self._process.poll()}"
