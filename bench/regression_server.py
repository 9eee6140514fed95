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

    def send(self, order: Message) -> None:
        """Raises SideError where the process has ended."""
        try:
            self._connection.send_bytes(json.dumps(order).encode())
        except OSError:
            raise SideError(f"{self.name}: {self._end()}") from None

    def answers(self) -> Iterator[Message]:
        """Those to the last order; a case at which the measuring child died has that as its problem, and
        those behind it have no answer. Raises SideError where the process itself ended or went silent."""
        at = problem = None
        while True:
            try:
                if not self._connection.poll(SILENCE_SECONDS):
                    self._process.kill()
                    raise SideError(f"{self.name}: no answer within {SILENCE_SECONDS:.0f} s, at {at}")
                message: Message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                raise SideError(f"{self.name}: {self._end()}") from None
            if "begins" in message:
                at = message["begins"]
            elif "ended" in message:
                if message["ended"] and at is not None:
                    yield {"case": at, "problem": f"its process ended with exit code {message['ended']}"}
                elif message["ended"]:
                    raise SideError(f"{self.name}: {problem or 'its process died'}")
                return
            elif "problem" in message and "case" not in message:
                at, problem = None, message["problem"]
            else:
                at = None
                yield message

    def ask(self, order: Message) -> Message:
        """The one answer to an order of one."""
        self.send(order)
        (answer,) = self.answers()
        return answer

    def ask_cases(self, order: Message) -> Iterator[Message]:
        """An answer for each of the order's cases, in their order, also behind one at which a child died."""
        waiting = list(order["cases"])
        while waiting:
            self.send({**order, "cases": waiting})
            for answer in self.answers():
                waiting = [case for case in waiting if case["name"] != answer["case"]]
                yield answer

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
