"""Reading the folder of a pretraining run: what it logged, on what, and everything that could not be used.

The checkpoint is not opened. A run that goes on meanwhile can be read: its last line may be torn.
"""

import contextlib
import json
import math
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bench.record_base import SCHEMA_VERSION
from bench.session_record import Session
from reports.text import plural
from vicreg_fast.config import Recipe
from vicreg_fast.errors import RecordError, UsageError
from vicreg_fast.evaluation.result import LinearResult, read_result

Values = npt.NDArray[np.float64]

LOGGED = (
    "epoch",
    "loss",
    "invariance",
    "variance",
    "covariance",
    "learning_rate",
    "std_mean",
    "std_min",
    "dead_fraction",
    "effective_rank",
    "off_diagonal_energy",
    "pairs_per_second",
    "loader_wait_share",
    "seconds",
)
"""Keys of a line of metrics.jsonl, beside `step`: docs/WATCHING.md."""
MOST_OTHERS = 8
"""Further keys, such as a gradient norm, that a report takes up."""
GREATEST = 1e100
"""What lies beyond is no use on an axis, and counts as not finite."""
MOST_PROBLEMS = 5
"""Named of the lines of one file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunLog:
    """One run. Every array has one number a logged step, L of them, and NaN where there is none."""

    name: str
    """Of the folder."""
    recipe: Recipe
    steps: npt.NDArray[np.int64]
    """(L,), rising."""
    values: dict[str, Values]
    """By key, in the order of LOGGED, then others; a key that no line has is absent."""
    resumed_at: tuple[int, ...]
    """Steps that a session went on from."""
    sessions: tuple[Session, ...]
    training: bool
    """A process of this machine holds the run's lock."""
    has_checkpoint: bool
    linear: LinearResult | None
    missing: dict[str, tuple[int, int]]
    """Of a key that some lines have: how many have no finite number, and the first such step."""
    problems: tuple[str, ...]
    """One line for each thing that could not be read or used."""

    @property
    def steps_per_epoch(self) -> int:
        """0 where neither a session nor a line says."""
        if self.sessions:
            return self.sessions[-1].steps_per_epoch
        epochs = self.values.get("epoch", np.full(len(self.steps), math.nan))
        known = np.flatnonzero(epochs > 0)
        return round(float(self.steps[known[-1]] / epochs[known[-1]])) if len(known) else 0

    @property
    def total_steps(self) -> int:
        """Of the whole run; 0 where it is not known."""
        return self.recipe.max_steps or self.recipe.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        return 0 < self.total_steps <= int(self.steps[-1])

    def finite(self, key: str) -> Values:
        """The finite numbers of a key, in order; none where it is not logged."""
        values = self.values.get(key, np.empty(0))
        return values[np.isfinite(values)]


def is_run(path: Path) -> bool:
    """Whether it is a folder of `vicreg-fast pretrain`."""
    return path.is_dir() and (path / "recipe.toml").is_file() and not (path / "records.jsonl").exists()


def load_run(folder: Path) -> RunLog:
    """The run as its files are now; read once for a page and a terminal, unless they change in between.

    Raises RecordError, in one line with the mend, when the recipe or the log cannot be read or no step is
    logged. A linear.json or sessions.jsonl that cannot be read is a problem, and no error.
    """
    states = []
    for name in ("metrics.jsonl", "recipe.toml", "sessions.jsonl", "linear.json"):
        with contextlib.suppress(OSError):
            state = (folder / name).stat()
            states.append((name, state.st_size, state.st_mtime_ns))
    return _load(folder, tuple(states))


@lru_cache(maxsize=1)
def _load(folder: Path, _: tuple[tuple[str, int, int], ...]) -> RunLog:
    problems: list[str] = []
    recipe = _recipe(folder / "recipe.toml", problems)
    lines, went_back_to = _lines(folder / "metrics.jsonl", problems)
    if not lines:
        torn = [problem for problem in problems if problem.startswith("metrics.jsonl")]
        why = f" ({torn[-1]})" if torn else ""
        raise RecordError(
            f"{folder / 'metrics.jsonl'}: no logged step{why}; a run logs every "
            f"{plural(recipe.log_every_steps, 'step')} (log_every_steps) and its last"
        )
    steps = np.array([line["step"] for line in lines], dtype=np.int64)
    values, missing = _columns(lines, steps, problems)
    sessions = _sessions(folder / "sessions.jsonl", problems)
    resumed = {session.from_step for session in sessions if session.from_step > 0} | went_back_to
    return RunLog(
        name=folder.resolve().name,
        recipe=recipe,
        steps=steps,
        values=values,
        resumed_at=tuple(sorted(step for step in resumed if step <= steps[-1])),
        sessions=sessions,
        training=_is_locked(folder / "recipe.toml"),
        has_checkpoint=(folder / "checkpoint.pt").exists(),
        linear=_linear(folder / "linear.json", problems),
        missing=missing,
        problems=tuple(problems),
    )


def _recipe(file: Path, problems: list[str]) -> Recipe:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror}); name the folder of a run") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{file}: is no TOML text ({error}); name the folder of a run") from error
    unknown = sorted(content.keys() - Recipe.model_fields.keys())
    if unknown:
        problems.append(f"recipe.toml: this version knows no {', '.join(unknown)}; left out")
    try:
        return Recipe().replace(**{key: value for key, value in content.items() if key not in unknown})
    except UsageError as error:
        raise RecordError(f"{file}: {error}; put the run's own recipe back") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror}); name the folder of a run") from error


def _lines(file: Path, problems: list[str]) -> tuple[list[dict[str, Any]], set[int]]:
    """The lines that count, steps rising, and the steps that it went back to.

    Where a line goes back, the earlier lines of that step and of later ones were lost with a kill.
    """
    if not file.exists():  # the run began, and has logged nothing yet
        return [], set()
    kept: list[dict[str, Any]] = []
    resumed: set[int] = set()
    faults: list[str] = []
    for number, line in _objects(file, faults):
        step = line.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step < 10**12:
            faults.append(f"line {number}: has no step; left out")
            continue
        lost = 0
        while kept and kept[-1]["step"] >= step:
            kept.pop()
            lost += 1
        if lost:
            resumed |= {kept[-1]["step"]} if kept else set()
            faults.append(
                f"line {number} goes back to step {step}: the {plural(lost, 'line')} before is lost"
            )
        kept.append(line)
    problems += _named(file.name, faults)
    return kept, resumed


def _objects(file: Path, faults: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _text(file).split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            yield number, content
        elif number == len(lines):
            faults.append(f"line {number}, the last, is torn: the run was cut there, or writes it now")
        else:
            faults.append(f"line {number}: not a whole JSON object; left out")


def _named(name: str, faults: Sequence[str]) -> list[str]:
    more = len(faults) - MOST_PROBLEMS
    return [f"{name}, {fault}" for fault in faults[:MOST_PROBLEMS]] + (
        [f"{name}: {plural(more, 'more such line')}"] if more > 0 else []
    )


def _columns(
    lines: Sequence[dict[str, Any]], steps: npt.NDArray[np.int64], problems: list[str]
) -> tuple[dict[str, Values], dict[str, tuple[int, int]]]:
    keys = dict.fromkeys(key for shape in dict.fromkeys(map(tuple, lines)) for key in shape)
    others = [key for key in keys if key != "step" and key not in LOGGED]
    if len(others) > MOST_OTHERS:
        problems.append(f"metrics.jsonl: {plural(len(others) - MOST_OTHERS, 'further key')} left out")
    values, missing = {}, {}
    for key in (*LOGGED, *others[:MOST_OTHERS]):
        column = _column([line.get(key) for line in lines])
        gaps = np.flatnonzero(np.isnan(column))
        if len(gaps) < len(lines):
            values[key] = column
        if key in keys and len(gaps):
            missing[key] = (len(gaps), int(steps[gaps[0]]))
    return values, missing


def _column(found: list[Any]) -> Values:
    """(L,), NaN for what is no finite number."""
    if set(map(type, found)) - {float, type(None)}:
        found = [_number(value) for value in found]
    column = np.array(found, dtype=np.float64)
    column[~(np.abs(column) <= GREATEST)] = math.nan
    return column


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= GREATEST:
        return float(value)
    return math.nan


def _sessions(file: Path, problems: list[str]) -> tuple[Session, ...]:
    if not file.exists():
        return ()
    found: list[Session] = []
    faults: list[str] = []
    for number, content in _objects(file, faults):
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            faults.append(f"line {number}: schema {version} is newer than this version reads; left out")
            continue
        try:
            found.append(Session.model_validate(content))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            faults.append(f"line {number}: not a session ({place}: {first['msg']})")
    problems += _named(file.name, faults)
    return tuple(found)


def _linear(file: Path, problems: list[str]) -> LinearResult | None:
    if not file.exists():
        return None
    try:
        return read_result(file)
    except RecordError as error:
        problems.append(str(error).replace(str(file), file.name))
        return None


def _is_locked(file: Path) -> bool:
    """Whether a process holds the lock of `RunFolder`. Read from the kernel's list: to try the lock would
    keep a run that starts at that moment from getting it."""
    try:
        state = file.stat()
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    wanted = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    return any(words[1] == "FLOCK" and wanted in words for words in map(str.split, locks) if len(words) > 5)
