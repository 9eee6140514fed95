"""A proof: parts one after the other, each in its own process, what became of each recorded as it ends.

The folder of a proof holds records.jsonl and a folder for each attempt at a part. A call goes on where those
before it stopped: what is done is not run again. Imports no torch.
"""

import fcntl
import re
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from bench.proof_parts import Part
from bench.proof_process import PartProcess
from bench.proof_record import PartStatus, ProofPart, ProofPlan
from bench.record import Environment, Record, RecordWriter, read_records
from bench.record_base import without_folders
from vicreg_fast.errors import RecordError, UsageError

RECORDS = "records.jsonl"
LOG = "log.txt"


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """What a part's process is to do."""

    part: Part
    folder: Path
    """Of this attempt."""
    data: Path | None
    """Small labelled images; None for the built-in ones."""
    rehearsal: bool


@dataclass(frozen=True, kw_only=True)
class PartEnd:
    """What a part's process says at its end."""

    code: int
    """The exit code of the first command that did not end with 0."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Of the part that runs."""

    part: Part
    seconds: float
    done: int
    total: int
    left: float
    """Seconds until all are done, by the estimates."""


class ProofFolder:
    """The folder, held by one call at a time. A context."""

    def __init__(self, folder: Path) -> None:
        """Raises RecordError where it cannot be written, or another call holds it."""
        self.path = folder
        self.file = folder / RECORDS
        self.records = self._read()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("ab")
        except OSError as error:
            raise RecordError(f"{folder}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RecordError(
                f"{folder}: another `prove` is at work there; wait for it, or name another --out"
            ) from error
        self.records = self._read()  # again: who held it may have ended just now

    def _read(self) -> list[Record]:
        if not self.file.exists():
            return []
        records, _ = read_records(self.file)
        if records and not any(isinstance(record, ProofPlan) for record in records):
            raise RecordError(f"{self.file}: is not of a proof; name another folder with --out")
        return records

    def __enter__(self) -> "ProofFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def began(self) -> bool:
        """Whether there is anything to report."""
        return any(isinstance(record, ProofPlan) for record in self.records)

    def is_done(self, names: Sequence[str]) -> bool:
        return all((end := self.last(name)) is not None and end.status == "done" for name in names)

    def require_same_machine(self, environment: Environment) -> None:
        """Raises UsageError, naming the mend, where the folder's records are of another device, another
        torch or another commit: their numbers are not to be put beside each other."""
        first = next((record for record in self.records if isinstance(record, Environment)), None)
        if first is None:
            return
        pairs = {
            "device": (first.gpu or first.processor, environment.gpu or environment.processor),
            "commit": tuple((each.commit or "unknown")[:12] for each in (first, environment)),
            "torch": tuple(each.versions.get("torch", "unknown") for each in (first, environment)),
        }
        for name, (before, now) in pairs.items():
            self._require_same(name, before, now)

    def require_same_mode(self, *, rehearsal: bool) -> None:
        """Raises UsageError where the folder is of a rehearsal and this is none, or the other way round."""
        plan = next((record for record in self.records if isinstance(record, ProofPlan)), None)
        if plan is not None:
            words = {True: "a rehearsal", False: "a measurement"}
            self._require_same("kind", words[plan.rehearsal], words[rehearsal])

    def _require_same(self, name: str, before: str, now: str) -> None:
        if before != now:
            raise UsageError(
                f"{self.path}: its records are of another {name} ({before}; now {now}); "
                "name a new folder with --out"
            )

    def last(self, name: str) -> ProofPart | None:
        """How the last attempt at a part ended."""
        ends = [r for r in self.records if isinstance(r, ProofPart) and r.name == name]
        return ends[-1] if ends else None

    def new_folder(self, name: str) -> Path:
        """NAME, or NAME-2 and so on where there is one."""
        number = 1
        while (path := self.path / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        return path

    def unrecorded(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """(part, folder) of attempts of which no record says how they ended: their call was killed."""
        known = {record.folder for record in self.records if isinstance(record, ProofPart)}
        found = []
        for name in names:
            for path in sorted(self.path.glob(f"{name}*")):
                if re.fullmatch(rf"{re.escape(name)}(-\d+)?", path.name) and path.name not in known:
                    found.append((name, path.name))
        return found


@dataclass(kw_only=True)
class ProofRun:
    """One call of `prove`."""

    folder: ProofFolder
    parts: tuple[Part, ...]
    """All there are, in order of importance."""
    asked: tuple[str, ...]
    """Names of those to run; empty for all that are not done."""
    budget: float
    """Seconds, from `began` on."""
    data: Path | None
    rehearsal: bool
    writer: RecordWriter
    context: BaseContext
    main: Callable[[PartJob], PartEnd]
    """What a part's process runs: can be pickled."""
    stop: Callable[[], bool]
    show: Callable[[Progress], None]
    began: float
    ends: list[ProofPart] = field(default_factory=list)
    """How the parts of this call ended."""

    def to_run(self) -> list[Part]:
        """Those of this call, in order: what failed before comes after what was not tried."""
        if self.asked:
            return [part for part in self.parts if part.name in self.asked]
        ends = {part.name: self.folder.last(part.name) for part in self.parts}
        left = [part for part in self.parts if (end := ends[part.name]) is None or end.status != "done"]
        return sorted(left, key=lambda part: (end := ends[part.name]) is not None and end.status == "failed")

    def run(self) -> None:
        """Runs what fits into the budget, and records how each part ended."""
        for name, folder in self.folder.unrecorded([part.name for part in self.parts]):
            self._record(name, "cut", 0.0, folder=folder, detail="the call that ran it was killed")
        todo = self.to_run()
        for place, part in enumerate(todo):
            if self.stop():
                return
            if part.obstacle is not None:
                self._record(part.name, "missing", 0.0, detail=_tidy(part.obstacle))
                continue
            left = self.budget - (time.monotonic() - self.began)
            if part.seconds > left:
                said = f"thought to take {part.seconds:.0f} s, and {max(left, 0):.0f} s were left"
                self._record(part.name, "left-out", 0.0, detail=f"{said} of {self.budget:.0f}")
                continue
            self._attempt(part, min(part.limit, left), todo[place:], place, len(todo))

    def _attempt(self, part: Part, limit: float, todo: Sequence[Part], place: int, total: int) -> None:
        folder = self.folder.new_folder(part.name)
        folder.mkdir()
        began = time.monotonic()
        job = PartJob(part=part, folder=folder, data=self.data, rehearsal=self.rehearsal)
        process = PartProcess(self.context, self.main, job, folder / LOG)
        after = sum(other.seconds for other in todo[1:] if other.obstacle is None)

        def look() -> None:
            seconds = time.monotonic() - began
            left = max(part.seconds - seconds, 0.0) + after
            self.show(Progress(part=part, seconds=seconds, done=place, total=total, left=left))

        what, value = "stopped", None
        try:
            what, value = process.wait(limit, self.stop, look)
        finally:
            process.end()
            seconds = time.monotonic() - began
            status, detail = _verdict(what, value, limit, folder / LOG)
            self._record(
                part.name,
                status,
                seconds,
                folder=folder.name,
                commands=tuple(command.shown() for command in part.commands),
                detail="; ".join(filter(None, (detail, _tidy(part.note)))),
            )

    def _record(self, name: str, status: PartStatus, seconds: float, **more: Any) -> None:
        record = ProofPart(name=name, status=status, seconds=round(seconds, 3), **more)
        self.ends.append(record)
        self.folder.records.append(record)
        self.writer.write(record)


def _verdict(what: str, value: Any, limit: float, log: Path) -> tuple[PartStatus, str]:
    if what == "returned":
        end: PartEnd = value
        if end.code == 0:
            return "done", _tidy(end.detail)
        return "failed", _tidy(end.detail or last_complaint(log) or f"exit code {end.code}")
    if what == "late":
        return "cut", f"it was ended after {limit:.0f} s"
    if what == "stopped":
        return "cut", "it was interrupted"
    return "failed", how_it_ended(value)


def how_it_ended(code: int | None) -> str:
    """An exit code as multiprocessing gives it, in words."""
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = ", as the kernel does when memory runs out" * (-code == signal.SIGKILL)
    return f"its process was killed by {name}{memory}"


def last_complaint(log: Path) -> str:
    """The last line that the command line said as an error; empty without one."""
    text = ""
    with suppress(OSError):
        text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.startswith("vicreg-fast: ")]
    return lines[-1].removeprefix("vicreg-fast: ") if lines else ""


def _tidy(text: str) -> str:
    """In one line, without the folders of paths: records travel."""
    return without_folders(" ".join(text.split()))[:300]
