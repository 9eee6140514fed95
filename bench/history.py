"""Stored measurements as series over time, with the points where they changed.

A series is one case, in one unit, in one setting, on one machine: points of different machines are never
joined, for a new runner would look like a change of the code. What may change along a series (commit,
versions, driver) is kept with each point, so that a change can be read beside what else changed there.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.change_points import ChangePoint, change_points
from bench.history_point import Point
from bench.history_pytest import pytest_points
from bench.history_records import record_points
from vicreg_fast.errors import RecordError

SUFFIXES = (".jsonl", ".json")
"""Of the files that are looked for in a folder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Two points or more of one case, in order of time."""

    case: str
    setting: str
    unit: str
    machine: str
    larger_is_slower: bool
    points: tuple[Point, ...]
    changes: tuple[ChangePoint, ...]

    @property
    def last_change(self) -> ChangePoint | None:
        return self.changes[-1] if self.changes else None

    def slower(self, change: ChangePoint) -> bool:
        """Whether that change is for the worse."""
        return (change.ratio > 1) == self.larger_is_slower

    def slowed_recently(self, recent: int) -> bool:
        """Whether the last change is a slowdown that begins within the last `recent` points."""
        last = self.last_change
        return last is not None and self.slower(last) and last.index >= len(self.points) - recent

    def also_changed(self, change: ChangePoint) -> dict[str, tuple[str, str]]:
        """What else differs between the points on either side of a change: name to (before, after)."""
        before, after = (self.points[index].run.conditions for index in (change.index - 1, change.index))
        return {
            name: (before.get(name, "none"), after.get(name, "none"))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """All series of the files that were read."""

    series: tuple[Series, ...]
    """In order of case, setting, unit and machine."""
    files: int
    """Files of which something was used."""
    single: tuple[str, ...]
    """Cases that were measured once only: a series takes two points."""
    left_out: tuple[str, ...]
    """One line for each thing that could not be read or used."""


def load_history(paths: Sequence[Path]) -> History:
    """The history of record files of `bench loss --against`, `bench loss` and `bench --compare`, and of
    pytest-benchmark's JSON. In a folder every such file is taken, at any depth.

    Raises RecordError, in one line, when a path is not there or none of the files holds a measurement.
    """
    points: list[Point] = []
    left_out: list[str] = []
    files = 0
    for path, named in _files(paths, left_out):
        try:
            found, problems = _read(path)
        except RecordError as error:
            if named:
                raise
            found, problems = [], [str(error)]
        files += bool(found)
        points += found
        left_out += problems
        if not found and not problems and (named or path.suffix == ".jsonl"):
            left_out.append(
                f"{shown(path)}: holds no time of a loss, no throughput and no pytest-benchmark result"
            )
    if not points:
        why = f" ({left_out[0]})" if left_out else ""
        raise RecordError(
            f"{', '.join(map(str, paths))}: no measurement found{why}; name record files of "
            "`vicreg-fast bench`, pytest-benchmark's JSON, or folders of them"
        )
    single: list[str] = []
    series = tuple(_series(points, single, left_out))
    return History(series=series, files=files, single=tuple(single), left_out=tuple(left_out))


def _files(paths: Sequence[Path], left_out: list[str]) -> Iterator[tuple[Path, bool]]:
    """Each file once, and whether it was named itself rather than found in a folder."""
    seen: set[Path] = set()
    for path in paths:
        named = not path.is_dir()
        inside = () if named else (file for file in path.rglob("*") if file.suffix in SUFFIXES)
        for file in [path] if named else sorted(file for file in inside if file.is_file()):
            if file.resolve() in seen:
                left_out.append(f"{file}: named twice; counted once")
                continue
            seen.add(file.resolve())
            yield file, named


def _read(path: Path) -> tuple[list[Point], list[str]]:
    """By its content, not its name: a file of records, or one of pytest-benchmark; other JSON gives
    nothing.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        document = None  # JSON Lines, when there is more than one
    if isinstance(document, dict) and "benchmarks" in document:
        return pytest_points(document, shown(path))
    if path.suffix == ".json" and not (isinstance(document, dict) and "kind" in document):
        return [], []
    try:
        return record_points(path, shown(path))
    except RecordError as error:
        return [], [str(error)]


def shown(path: Path) -> str:
    """A file by its name and its folder's: runs lie in folders of their own, and every file is
    records.jsonl.
    """
    return "/".join(path.parts[-2:])


def _series(points: Sequence[Point], single: list[str], left_out: list[str]) -> Iterator[Series]:
    groups: dict[tuple[str, str, str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.case, point.setting, point.unit, point.run.machine), []).append(point)
    for key in sorted(groups):
        case, setting, unit, machine = key
        distinct = _distinct(groups[key], left_out)
        if len(distinct) < 2:
            single.append(f"{case} ({unit}; {setting}; {machine})")
            continue
        yield Series(
            case=case,
            setting=setting,
            unit=unit,
            machine=machine,
            larger_is_slower=distinct[0].larger_is_slower,
            points=tuple(distinct),
            changes=change_points([point.value for point in distinct]),
        )


def _distinct(points: Sequence[Point], left_out: list[str]) -> list[Point]:
    """In order of time, each measurement once: copies of a file are no further measurements."""
    kept: dict[tuple[datetime, float], Point] = {}
    for point in sorted(points, key=lambda point: point.run.time):
        first = kept.setdefault((point.run.time, point.value), point)
        if first is not point:
            left_out.append(f"{point.run.file}: {point.case} is that of {first.run.file} again; counted once")
    return list(kept.values())
