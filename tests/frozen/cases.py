"""What is run: one command line for each frozen set of numbers, by kind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.frozen.numbers import numbers_of, run

HERE = Path(__file__).parent
RECORDS = HERE / "records"
EXPECTED = HERE / "expected"
PUBLISHED = HERE.parents[1] / "reports" / "published"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command."""

    kind: str
    """Of the file in `expected` that holds its numbers."""
    name: str
    command: tuple[str, ...]
    paths: tuple[Path, ...]
    options: tuple[str, ...] = ()
    junit: bool = False

    def numbers(self, out: Path, *paths: Path) -> dict[str, Any]:
        """What the command says of its records, or of `paths` in their place; it writes into `out`."""
        junit = ("--junit", out / "junit.xml") if self.junit else ()
        code = run(*self.command, *(paths or self.paths), *self.options, "--out", out, *junit)
        return numbers_of(code, out)


def _reports(kind: str, *names: str, junit: bool = False) -> list[Case]:
    return [_report(kind, name, RECORDS / name, junit=junit) for name in names]


def _report(kind: str, name: str, *paths: Path, junit: bool = False) -> Case:
    return Case(kind=kind, name=name, command=("report",), paths=paths, options=("--quiet",), junit=junit)


def _compare(name: str, a: Path, b: Path, *options: str) -> Case:
    return Case(
        kind="compare", name=name, command=("report", "compare"), paths=(a, b), options=("--quiet", *options)
    )


def _history(name: str, *options: str) -> Case:
    return Case(
        kind="history", name=name, command=("bench", "history"), paths=(RECORDS / name,), options=options
    )


def _published() -> list[Case]:
    found = []
    for path in sorted(PUBLISHED.rglob("*.jsonl")):
        judged = path.name.startswith("comparison")
        found.append(_report("published", str(path.relative_to(PUBLISHED)), path, junit=judged))
    return found


CPU = PUBLISHED / "2026-11-22-cpu"

CASES: tuple[Case, ...] = (
    *_published(),
    *_reports(
        "comparison",
        *("comparison-ladder.jsonl", "comparison-full.jsonl", "comparison-gpu.jsonl"),
        *("comparison-worse.jsonl", "comparison-failed.jsonl"),
        junit=True,
    ),
    *_reports("loss", "loss.jsonl", "loss-ranks.jsonl"),
    _report(
        "loss", "two files", CPU / "loss-stable-pretraining.jsonl", CPU / "loss-stable-pretraining-8192.jsonl"
    ),
    *_reports("loader", "loader.jsonl"),
    *_reports(
        "regression",
        *(
            f"regression-{name}.jsonl"
            for name in (
                *("fine", "slower", "counts", "not-confirmed", "noisy", "failed", "missing", "new"),
                *("other-machine", "gates-only"),
            )
        ),
        junit=True,
    ),
    *_reports("scaling", "scaling.jsonl"),
    _history("history-slower", "--strict"),
    _history("history-steady", "--strict"),
    *_reports("proof", "proof", "proof-short", junit=True),
    *_reports("pretraining", "pretraining", "pretraining-resumed", "pretraining-collapsed"),
    *_reports("linear", "linear.json", "linear-floors.json"),
    _compare("comparisons", RECORDS / "comparison-full.jsonl", RECORDS / "comparison-full-b.jsonl"),
    _compare("losses", RECORDS / "loss.jsonl", RECORDS / "loss-b.jsonl"),
    _compare("regressions", RECORDS / "regression-fine.jsonl", RECORDS / "regression-slower.jsonl"),
    _compare("of other recipes", CPU / "comparison-first.jsonl", CPU / "comparison-second.jsonl"),
    _compare("of two kinds", RECORDS / "loss.jsonl", RECORDS / "comparison-full.jsonl"),
    _report("refused", "two kinds", RECORDS / "loss.jsonl", RECORDS / "loader.jsonl"),
    _report("refused", "not there", RECORDS / "none.jsonl"),
    _report("refused", "no verdict", RECORDS / "loader.jsonl", junit=True),
    Case(
        kind="refused",
        name="no base",
        command=("bench", "loss", "--against"),
        paths=(RECORDS / "none.jsonl",),
    ),
)
