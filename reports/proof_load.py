"""Reading the folder of a proof: its plan, how each part ended, and the records that its parts left.

A part's own records are read by the reader of their kind, so that what cannot be a measurement is left out
here as it is in the part's own report. Nothing in the folder is trusted to stay in it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.loss_record import Ceiling
from bench.proof_record import PartStatus, ProofPart, ProofPlan, ProofTests
from bench.record import Environment, Record, read_records
from reports.limits_load import limits_fault
from reports.load import load_report
from reports.loader_load import load_loader_report
from reports.loader_summary import LoaderSummary
from reports.loss_load import load_loss_report
from reports.loss_summary import LossSummary, summarise_losses
from reports.summary import Summary, summarise
from reports.text import shortened
from vicreg_fast.errors import RecordError
from vicreg_fast.evaluation.result import LinearResult, read_result

T = TypeVar("T")

RAN: tuple[PartStatus, ...] = ("done", "failed", "cut")
RECORDS = "records.jsonl"
LONGEST_DETAIL = 300
"""Characters of how a part ended; its log has all."""


@dataclass(frozen=True, kw_only=True)
class PartState:
    """One part, as its last attempt that ran left it; as its last record says where none ran."""

    name: str
    status: PartStatus | Literal["not run"]
    seconds: float = 0.0
    """Of all attempts together."""
    attempts: int = 0
    """That ran."""
    folder: str | None = None
    """Within the proof's; None where there is none."""
    detail: str = ""
    commands: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why it has not measured everything, as in "compare was cut: at its limit"; empty where it has."""
        if self.status == "done":
            return ""
        said = {"failed": "failed", "missing": "cannot run here"}.get(
            self.status, f"was {self.status.replace('-', ' ')}"
        )
        return f"{said}: {self.detail}" if self.detail else said


class ProofFolder:
    """What a proof's folder holds. Each part's records are read on first use; what cannot be read of them is
    added to `problems`."""

    def __init__(self, folder: Path, records: Sequence[Record], problems: Sequence[str]) -> None:
        self.folder = folder
        self.environments = tuple(record for record in records if isinstance(record, Environment))
        plans = [record for record in records if isinstance(record, ProofPlan)]
        self.plan = plans[-1]
        self.plans = tuple(plans)
        self.parts = _parts(folder, plans, [record for record in records if isinstance(record, ProofPart)])
        self.records = tuple(records)
        """The proof's own, without those of its parts."""
        self.problems = list(problems)
        self._read: dict[tuple[str, str], Any] = {}

    @property
    def rehearsal(self) -> bool:
        """Whether the last call had no GPU, and measured toys."""
        return self.plan.rehearsal

    def part(self, name: str) -> PartState:
        return next((p for p in self.parts if p.name == name), PartState(name=name, status="not run"))

    def file(self, part: str, *names: str) -> Path | None:
        """The first of these files that the part left; None without one."""
        state = self.part(part)
        if state.folder is None:
            return None
        candidates = (self.folder / state.folder / name for name in names)
        return next((path for path in candidates if path.is_file()), None)

    def comparison(self, part: str) -> Summary | None:
        """Of a part that is a `bench --compare` or `--ladder`; None where it left none that can be read."""
        return self._once("comparison", part, RECORDS, lambda file: summarise(load_report([file])))

    def losses(self, part: str) -> LossSummary | None:
        return self._once("losses", part, RECORDS, lambda file: summarise_losses(load_loss_report([file])))

    def loaders(self, part: str) -> LoaderSummary | None:
        return self._once("loaders", part, RECORDS, lambda file: LoaderSummary(load_loader_report([file])))

    def linear(self, part: str) -> LinearResult | None:
        return self._once("linear", part, ("linear.json", "run/linear.json"), read_result)

    def tests(self, part: str) -> ProofTests | None:
        found = (record for record in reversed(self._records(part)) if isinstance(record, ProofTests))
        return next(found, None)

    def ceilings(self, part: str) -> tuple[Ceiling, ...]:
        """What the device reached, those that can be true."""
        found = (record for record in self._records(part) if isinstance(record, Ceiling))
        return tuple(ceiling for ceiling in found if limits_fault(ceiling) is None)

    def _records(self, part: str) -> list[Record]:
        def read(file: Path) -> list[Record]:
            records, problems = read_records(file)
            self.problems += [f"{part}: {problem}" for problem in problems]
            return records

        return self._once("records", part, RECORDS, read) or []

    def report_of(self, part: str) -> str | None:
        """The part's own page, relative to the folder; None without one."""
        page = self.file(part, "report.html", "run/report.html")
        return page.relative_to(self.folder).as_posix() if page else None

    def note(self, part: str, error: RecordError) -> None:
        """Adds to the problems, once, what could not be read of a part."""
        said = f"{part}: {str(error).replace(f'{self.folder}/', '')}"
        if said not in self.problems:
            self.problems.append(said)

    def _once(
        self, kind: str, part: str, names: str | tuple[str, ...], read: Callable[[Path], T | None]
    ) -> T | None:
        key = (kind, part)
        if key not in self._read:
            file = self.file(part, *((names,) if isinstance(names, str) else names))
            found = None
            if file is not None:
                with self._noting(part):
                    found = read(file)
            problems = getattr(getattr(found, "report", None), "problems", ())
            self.problems += [f"{part}: {problem}" for problem in problems]
            self._read[key] = found
        kept: T | None = self._read[key]
        return kept

    @contextmanager
    def _noting(self, part: str) -> Iterator[None]:
        try:
            yield
        except RecordError as error:
            self.note(part, error)


def load_proof(folder: Path) -> ProofFolder:
    """The proof in a folder, or whose records.jsonl a path is.

    Raises RecordError, in one line, when its records cannot be read, or hold no plan of a proof or no
    environment.
    """
    file = folder / RECORDS if folder.is_dir() else folder
    records, problems = read_records(file)
    for kind, name in ((ProofPlan, "proof-plan"), (Environment, "environment")):
        if not any(isinstance(record, kind) for record in records):
            why = f" ({problems[0]})" if problems else ""
            raise RecordError(
                f"{file}: no {name} record{why}; name the folder that `vicreg-fast prove` wrote"
            )
    return ProofFolder(file.parent, records, problems)


def _parts(folder: Path, plans: Sequence[ProofPlan], attempts: Sequence[ProofPart]) -> tuple[PartState, ...]:
    names = dict.fromkeys((*plans[-1].parts, *(attempt.name for attempt in attempts)))
    return tuple(_part(folder, name, [a for a in attempts if a.name == name]) for name in names)


def _part(folder: Path, name: str, attempts: Sequence[ProofPart]) -> PartState:
    if not attempts:
        return PartState(name=name, status="not run")
    ran = [attempt for attempt in attempts if attempt.status in RAN]
    last = ran[-1] if ran else attempts[-1]
    return PartState(
        name=name,
        status=last.status,
        seconds=sum(attempt.seconds for attempt in attempts if 0 <= attempt.seconds < 1e9),
        attempts=len(ran),
        folder=last.folder if last.folder is not None and _inside(folder, last.folder) else None,
        detail=shortened(last.detail, LONGEST_DETAIL),
        commands=last.commands,
    )


def _inside(folder: Path, name: str) -> bool:
    """A name that leads out of the proof's folder is no part's: records travel."""
    return (folder / name).resolve().parent == folder.resolve()
