"""How a rank tells its launcher what ended it: a file of the form that torch's elastic agent reads.

A failure that the rank could put into words (a VICRegFastError) is final: the next start would end alike. A
crash is not, and neither is the loss of another rank, which is a consequence and never the cause.
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicreg_fast.errors import RankError, VICRegFastError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

LOG_VARIABLE = "VICREG_FAST_RANK_LOG"
"""Set for a rank that `vicreg_fast.distributed.launch` started: the file for what has no place on the
console."""

_PR_SET_PDEATHSIG = 1


def is_launched() -> bool:
    """Whether this process is a rank that our launcher started."""
    return LOG_VARIABLE in os.environ


@contextmanager
def reporting_to_the_launcher() -> Iterator[None]:
    """In a launched rank an exception is reported in its file, and becomes an exit without a word; elsewhere
    nothing changes. When the launcher is killed the rank gets SIGTERM, and saves."""
    if not is_launched():
        yield
        return
    _end_with_the_launcher()
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except VICRegFastError as error:
        lost = isinstance(error, RankError)
        _write(str(error), error, exit_code=None if lost else error.exit_code, lost=lost)
        sys.exit(error.exit_code)
    except Exception as error:
        _write(_last_line(error), error)
        sys.exit(1)


def _end_with_the_launcher() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _write(message: str, error: BaseException, *, exit_code: int | None = None, lost: bool = False) -> None:
    stack = "".join(traceback.format_exception(error))
    with Path(os.environ[LOG_VARIABLE]).open("a", encoding="utf-8") as log:
        log.write(stack)
    extra = {"py_callstack": stack, "timestamp": str(int(time.time()))}
    content = {"message": {"message": message, "extraInfo": extra}, "exit_code": exit_code, "lost": lost}
    target = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
    scratch = target.with_suffix(".new")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(target)


def _last_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__


@dataclass(frozen=True, kw_only=True)
class RankReport:
    """How one rank ended."""

    rank: int
    exit_code: int
    """Negative: the signal that killed it."""
    message: str = ""
    final: bool = False
    lost: bool = False

    @property
    def what_happened(self) -> str:
        if self.exit_code < 0:
            return f"rank {self.rank} was killed by {_signal_name(-self.exit_code)}"
        reason = f" ({self.message})" if self.message else ""
        return f"rank {self.rank} ended with exit code {self.exit_code}{reason}"

    def error(self) -> VICRegFastError:
        """What the rank raised, to be raised here."""
        error = VICRegFastError(self.message if self.rank == 0 else f"rank {self.rank}: {self.message}")
        error.exit_code = self.exit_code
        return error


def read_report(rank: int, failure: "ProcessFailure") -> RankReport:
    try:
        content: dict[str, Any] = json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
        message = str(content["message"]["message"])
        return RankReport(
            rank=rank,
            exit_code=failure.exitcode,
            message=message,
            final=content["exit_code"] is not None,
            lost=bool(content["lost"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return RankReport(rank=rank, exit_code=failure.exitcode)


def root_cause(failures: "Iterable[tuple[int, ProcessFailure]]") -> RankReport:
    """Of ranks that ended, the one that ended the others: first what a rank put into words, then a signal
    that was not the agent's own SIGTERM, then any other failure, and last those that only lost a rank."""

    def consequence(report: RankReport) -> int:
        if report.final:
            return 0
        if report.exit_code < 0 and report.exit_code != -signal.SIGTERM:
            return 1
        return 3 if report.lost or report.exit_code == -signal.SIGTERM else 2

    return min((read_report(rank, failure) for rank, failure in failures), key=consequence)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


__all__ = [
    "LOG_VARIABLE",
    "RankReport",
    "is_launched",
    "read_report",
    "reporting_to_the_launcher",
    "root_cause",
]
