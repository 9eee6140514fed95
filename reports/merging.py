"""What the readers of record files have in common: nothing counts twice, and it is named in what runs
differ.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.record import Environment, Record
from vicreg_fast.errors import RecordError, UsageError

SAME_MACHINE = ("processor", "cores", "gpu", "gpu_count", "driver", "versions", "commit")

R = TypeVar("R", bound=Record)


def require_each_once(paths: Sequence[Path]) -> None:
    """Raises RecordError where there is no file, or one is given twice."""
    if not paths:
        raise RecordError("no record file given: name at least one file that `vicreg-fast bench` wrote")
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise RecordError(f"{path}: given twice, which would count its rounds twice; name each file once")
        seen.add(path.resolve())


def the_only(paths: Sequence[Path], what: str) -> Path:
    """The one path of a report that is of one thing. Raises UsageError where there are several."""
    if len(paths) != 1:
        raise UsageError(f"{paths[1]}: a report is of one {what}; report each by itself")
    return paths[0]


def latest(
    records: Iterable[R], key: Callable[[R], Hashable], name: Callable[[R], str], problems: list[str]
) -> list[R]:
    """One record a key, the last; each that it displaces is named among the problems."""
    kept: dict[Hashable, R] = {}
    for record in records:
        if key(record) in kept:
            problems.append(f"{name(record)}: measured twice; the later measurement counts")
        kept[key(record)] = record
    return list(kept.values())


def unlike_environments(environments: Sequence[Environment]) -> list[str]:
    """A line for each thing in which the machines of several runs differ."""
    return [
        f"the runs' environments differ in {field}: ratios pair within a run, medians mix the runs"
        for field in SAME_MACHINE
        if any(getattr(one, field) != getattr(environments[0], field) for one in environments)
    ]
