"""Which report is made of which files: one kind after the other is asked whether a path is its own.

A path is a file of records, or a folder: that holds a records.jsonl, or that is a run. Kinds import what they
draw with only when they are called, so that asking is cheap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from reports.record_kinds import record_files, record_kinds
from reports.text import plural
from vicreg_fast.errors import RecordError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from reports.load import Report


@dataclass(frozen=True, kw_only=True)
class ReportKind:
    """One kind of report. Its functions take paths as the user gave them: files or folders."""

    name: str
    """Said of a path, as in "x.jsonl is a comparison": with its article."""
    holds: Callable[[Sequence[Path]], bool]
    """Whether the paths, one at a time, are of this kind; says no of a path that cannot be read."""
    write: Callable[[Sequence[Path], Path], dict[str, Path]]
    """Writes the report's files into a folder, and gives the name of each to its path."""
    print: Callable[[Sequence[Path], "Console"], None]
    junit: Callable[[Sequence[Path]], str] | None = None
    """The same as JUnit XML; None for a kind that judges nothing."""


def _any_of(*kinds: str) -> Callable[[Sequence[Path]], bool]:
    """Whether each path holds a record of one of these kinds."""
    return lambda paths: all(record_kinds(path) & set(kinds) for path in paths)


def _holds_losses(paths: Sequence[Path]) -> bool:
    return all(
        kinds & {"loss-timing", "loss-comparison"} and "plan" not in kinds
        for kinds in map(record_kinds, paths)
    )


@lru_cache(maxsize=1)
def _load_comparison(files: tuple[tuple[Path, int, int], ...]) -> "Report":
    from reports.load import load_report

    return load_report([file for file, _, _ in files])


def _comparison(paths: Sequence[Path]) -> "Report":
    """Loaded once for the page, the terminal and JUnit: reading many records takes its time."""
    try:
        states = [(file, file.stat()) for file in record_files(paths)]
    except OSError as error:
        raise RecordError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return _load_comparison(tuple((file, state.st_size, state.st_mtime_ns) for file, state in states))


def _write_comparison(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.render import write_loaded

    return write_loaded(_comparison(paths), out)


def _print_comparison(paths: Sequence[Path], console: "Console") -> None:
    from reports.render import print_report

    print_report(_comparison(paths), console)


def _write_losses(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.loss_render import write_loss_report

    return write_loss_report(record_files(paths), out)


def _print_losses(paths: Sequence[Path], console: "Console") -> None:
    from reports.loss_load import load_loss_report
    from reports.loss_render import print_loss_report

    print_loss_report(load_loss_report(record_files(paths)), console)


def _write_regression(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.regression_render import write_regression_report

    return write_regression_report(record_files(paths), out)


def _print_regression(paths: Sequence[Path], console: "Console") -> None:
    from reports.regression_render import print_regression_report

    print_regression_report(record_files(paths), console)


def _regression_junit(paths: Sequence[Path]) -> str:
    from reports.junit import regression_junit
    from reports.regression_load import load_regression

    report = load_regression(record_files(paths))
    return regression_junit(report.judgement, report.records)


def _comparison_junit(paths: Sequence[Path]) -> str:
    from reports.junit import comparison_junit

    return comparison_junit(_comparison(paths))


def _write_scaling(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.scaling_load import load_scaling
    from reports.scaling_render import write_scaling

    return write_scaling(load_scaling(record_files(paths)), out)


def _print_scaling(paths: Sequence[Path], console: "Console") -> None:
    from reports.scaling_load import load_scaling
    from reports.scaling_render import print_scaling

    print_scaling(load_scaling(record_files(paths)), console)


def _holds_loaders(paths: Sequence[Path]) -> bool:
    """Also a file of loader rates alone from before they had records of their own."""
    kinds = [record_kinds(path) for path in paths]
    if all(found & {"loader-plan", "loader-rate"} for found in kinds):
        return True
    if not all("throughput" in found and "plan" not in found for found in kinds):
        return False
    from reports.loader_load import holds_loaders

    return all(map(holds_loaders, record_files(paths)))


def _write_loaders(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.loader_render import write_loader_report

    return write_loader_report(record_files(paths), out)


def _print_loaders(paths: Sequence[Path], console: "Console") -> None:
    from reports.loader_load import load_loader_report
    from reports.loader_render import print_loader_report

    print_loader_report(load_loader_report(record_files(paths)), console)


def _holds_run(paths: Sequence[Path]) -> bool:
    from reports.run_log import is_run

    return all(map(is_run, paths))


def _write_run(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.run_render import write_run

    return write_run(paths, out)


def _print_run(paths: Sequence[Path], console: "Console") -> None:
    from reports.run_render import print_run

    print_run(paths, console)


def _holds_linear(paths: Sequence[Path]) -> bool:
    from reports.linear_summary import is_linear

    return all(map(is_linear, paths))


def _write_linear(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.linear_render import write_linear

    return write_linear(paths, out)


def _print_linear(paths: Sequence[Path], console: "Console") -> None:
    from reports.linear_render import print_linear

    print_linear(paths, console)


def _write_proof(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    from reports.proof_render import write_proof

    return write_proof(_one_proof(paths), out)


def _print_proof(paths: Sequence[Path], console: "Console") -> None:
    from reports.proof_render import print_proof

    print_proof(_one_proof(paths), console)


def _proof_junit(paths: Sequence[Path]) -> str:
    from reports.junit import proof_junit
    from reports.proof_judge import judge_proof

    return proof_junit(judge_proof(_one_proof(paths)))


def _one_proof(paths: Sequence[Path]) -> Path:
    if len(paths) > 1:
        raise UsageError(f"{paths[1]}: a report is of one proof; name one folder at a time")
    return paths[0]


KINDS: tuple[ReportKind, ...] = (
    ReportKind(name="a pretraining run", holds=_holds_run, write=_write_run, print=_print_run),
    ReportKind(name="a linear evaluation", holds=_holds_linear, write=_write_linear, print=_print_linear),
    ReportKind(
        name="a scaling model",
        holds=_any_of("scaling", "loss-prediction"),
        write=_write_scaling,
        print=_print_scaling,
    ),
    ReportKind(
        name="a run of bench loss --against",
        holds=_any_of("regression-plan"),
        write=_write_regression,
        print=_print_regression,
        junit=_regression_junit,
    ),
    ReportKind(
        name="a proof",
        holds=_any_of("proof-plan"),
        write=_write_proof,
        print=_print_proof,
        junit=_proof_junit,
    ),
    ReportKind(name="a run of bench loss", holds=_holds_losses, write=_write_losses, print=_print_losses),
    ReportKind(
        name="a run of bench loader", holds=_holds_loaders, write=_write_loaders, print=_print_loaders
    ),
    ReportKind(
        name="a comparison",
        holds=_any_of("plan", "throughput", "memory", "accuracy"),
        write=_write_comparison,
        print=_print_comparison,
        junit=_comparison_junit,
    ),
)
"""In the order they are asked: the first that holds a path has it."""


def choose_kind(paths: Sequence[Path]) -> ReportKind:
    """The kind that all of `paths` are. Raises RecordError, in one line, when a path cannot be read, is of no
    kind, or they are of several; UsageError when there is no path.
    """
    if not paths:
        raise UsageError("nothing to report: name a file of records, or the folder of a run")
    kinds = {path: _kind_of(path) for path in paths}
    if len({kind.name for kind in kinds.values()}) > 1:
        said = ", ".join(f"{path} is {kind.name}" for path, kind in kinds.items())
        raise RecordError(f"one report is of one kind: {said}; report them apart")
    return kinds[paths[0]]


def _kind_of(path: Path) -> ReportKind:
    for kind in KINDS:
        if kind.holds([path]):
            return kind
    (file,) = record_files([path])
    try:
        lines = len(file.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise RecordError(
            f"{file}: cannot be read ({error.strerror}); name a file of records, or the folder of a run"
        ) from error
    except UnicodeDecodeError as error:
        raise RecordError(f"{file}: cannot be read (not UTF-8 text); name a file of records") from error
    found = ", ".join(sorted(record_kinds(path)))
    what = f"only {found}" if found else f"none in {plural(lines, 'line')}" if lines else "it is empty"
    raise RecordError(f"{file}: holds no record that a report is made of ({what}); name what a bench wrote")
