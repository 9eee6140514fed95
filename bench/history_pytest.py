"""From a JSON file of pytest-benchmark to the points of a history."""

import dataclasses
import math
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from bench.history_point import Measured, Point, RunInfo, point_of, ratios, utc
from bench.regression_json import read_suite_json
from vicreg_fast.errors import BaselineError

OF_SUITE = {"case", "subject", "calls"}
"""What a benchmark of bench/suite_loss says of itself: a time is of so many calls, which vary from run to
run.
"""


class _Cpu(BaseModel):
    brand_raw: str | None = None
    count: int | None = None


class _Machine(BaseModel):
    """Not its `node`: runners of one kind have a new name each time."""

    processor: str = ""
    machine: str = ""
    system: str = ""
    release: str = ""
    python_version: str = ""
    cpu: _Cpu = Field(default_factory=_Cpu)


class _Commit(BaseModel):
    id: str | None = None
    dirty: bool = False


class _Stats(BaseModel):
    data: tuple[float, ...] = ()
    median: float
    iqr: float
    rounds: int = Field(ge=1)


class _Benchmark(BaseModel):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any] = Field(default_factory=dict)


class _Document(BaseModel):
    machine_info: _Machine
    commit_info: _Commit = Field(default_factory=_Commit)
    began: str = Field(alias="datetime")
    version: str = ""
    benchmarks: list[Any]


def pytest_points(document: dict[str, Any], file: str) -> tuple[list[Point], list[str]]:
    """Every benchmark's point and what could not be used, a line each: of bench/suite_loss the ratio to its
    naive loss, of other suites seconds.
    """
    try:
        read = _Document.model_validate(document)
        info = _info(read, utc(read.began), file)
    except ValidationError as error:
        return [], [f"{file}: not a file of pytest-benchmark ({_first(error)})"]
    except ValueError:
        return [], [f"{file}: its datetime is no time in ISO 8601"]
    points: list[Point] = []
    problems: list[str] = []
    benchmarks: list[_Benchmark] = []
    for number, content in enumerate(read.benchmarks):
        try:
            benchmarks.append(_Benchmark.model_validate(content))
        except ValidationError as error:
            problems.append(f"{file}: benchmark {number}: {_first(error)}; left out")
    others = [benchmark for benchmark in benchmarks if not benchmark.extra_info.keys() >= OF_SUITE]
    for benchmark in others:
        try:
            points.append(_point(info, benchmark))
        except ValueError as error:
            problems.append(f"{file}: {benchmark.fullname}: {error}; left out")
    if len(others) < len(benchmarks):
        try:
            points += _of_suite(info, document, file)
        except BaselineError as error:
            problems.append(f"{str(error).removeprefix('--against ')}; left out")
        except ValueError as error:
            problems.append(f"{file}: benchmarks of bench/suite_loss: {error}; left out")
    return points, problems


def _of_suite(info: RunInfo, document: dict[str, Any], file: str) -> list[Point]:
    base = read_suite_json(document, file)
    where: dict[str, str] = base["fingerprint"]
    gpu = where.get("gpu", "none")  # which pytest-benchmark does not know of
    info = dataclasses.replace(info, machine=info.machine + (f", {gpu}" if gpu != "none" else ""))
    setting = (
        f"pytest-benchmark, {where.get('device', 'unknown device')}, threads {where.get('threads', '?')}"
    )
    return [
        point_of(
            info,
            Measured(
                case=sample.case,
                setting=setting,
                unit="÷ naive loss",
                groups=[ratios(sample.seconds, sample.naive_seconds)],
            ),
        )
        for sample in base["samples"]
    ]


def _info(read: _Document, time: datetime, file: str) -> RunInfo:
    about = read.machine_info
    name = about.cpu.brand_raw or about.processor or about.machine or "unknown machine"
    cores = "unknown cores" if about.cpu.count is None else f"{about.cpu.count} cores"
    conditions = {"python": about.python_version, "pytest-benchmark": read.version}
    conditions["system"] = f"{about.system} {about.release}"
    return RunInfo(
        time=time,
        machine=f"{name}, {cores}",
        commit=read.commit_info.id,
        uncommitted=read.commit_info.dirty,
        conditions=conditions,
        file=file,
    )


def _point(info: RunInfo, benchmark: _Benchmark) -> Point:
    stats = benchmark.stats
    samples = stats.data or (stats.median,)
    measured = Measured(case=benchmark.fullname, setting="pytest-benchmark", unit="s", groups=(samples,))
    point = point_of(info, measured)
    if stats.data or stats.rounds == 1:
        return point
    # Saved without its samples: the interval that a box plot's notch shows (McGill, Tukey & Larsen 1978).
    half = 1.57 * stats.iqr / math.sqrt(stats.rounds)
    low = max(point.value - half, 0.0)
    return dataclasses.replace(point, low=low, high=point.value + half, samples=stats.rounds)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
