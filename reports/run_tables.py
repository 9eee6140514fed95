"""A pretraining run's numbers as tables and as CSV."""

import csv
import io
import json
from typing import Any

import numpy as np

from reports.run_log import RunLog
from reports.tables import Table
from reports.text import GIB, NOTHING, amount
from vicreg_fast.config import Recipe, load_recipe, recipe_names

MOST_ROWS = 5000
"""Logged steps in the page's own CSV; samples.csv beside it has all."""


def numbers_table(log: RunLog) -> Table:
    """Each logged number: at the first and last step, least, greatest, and the middle one."""
    rows = []
    for key, values in log.values.items():
        there = np.flatnonzero(np.isfinite(values))
        least, most = there[np.argmin(values[there])], there[np.argmax(values[there])]
        rows.append(
            (
                key,
                _number(values[there[0]]),
                f"{_number(values[least])} ({log.steps[least]:,})",
                _number(float(np.median(values[there]))),
                f"{_number(values[most])} ({log.steps[most]:,})",
                _number(values[there[-1]]),
            )
        )
    columns = ("logged", "first", "least (at step)", "median", "greatest (at step)", "last")
    return Table(title="Logged numbers", columns=columns, rows=tuple(rows))


def _number(value: float) -> str:
    return amount(float(value)) if abs(value) >= 100 or value == 0 else f"{value:.4g}"


def changes_table(log: RunLog) -> Table:
    """What the run's recipe has otherwise than the shipped one of its name, or else than the defaults."""
    known = log.recipe.name in recipe_names()
    shipped = load_recipe(log.recipe.name) if known else Recipe()
    rows = [
        (key, _value(getattr(shipped, key)), _value(value))
        for key, value in log.recipe
        if key != "name" and value != getattr(shipped, key)
    ]
    of = f"the shipped recipe {log.recipe.name}" if known else "the defaults (no recipe of this name ships)"
    columns = ("key", "shipped" if known else "default", "this run")
    return Table(title=f"Changed against {of}", columns=columns, rows=tuple(rows), names=3)


def recipe_table(log: RunLog) -> Table:
    rows = tuple((key, _value(value)) for key, value in log.recipe)
    return Table(title="Recipe", columns=("key", "value"), rows=rows, names=2)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def session_table(log: RunLog) -> Table:
    """Where each session began, and on what machine."""
    rows = []
    for session in log.sessions:
        machine = session.environment
        rows.append(
            (
                f"{session.from_step:,}",
                session.time,
                session.device + (f" × {session.world_size} ranks" if session.world_size > 1 else ""),
                session.pipeline,
                session.precision or NOTHING,
                machine.gpu or machine.processor,
                f"{machine.cores}, {machine.memory_bytes / GIB:.1f} GiB",
                machine.versions.get("torch", NOTHING),
                (machine.commit or NOTHING)[:12] + (", changed" if machine.uncommitted_changes else ""),
            )
        )
    columns = (
        "from step",
        "began (UTC)",
        "device",
        "pipeline",
        "precision",
        "machine",
        "cores, memory",
        "torch",
        "commit",
    )
    return Table(title="Sessions", columns=columns, rows=tuple(rows), names=len(columns))


def samples_csv(log: RunLog, most: int | None = None) -> str:
    """Every logged number, a row a step; with `most`, so many evenly spaced rows, the first and last among
    them."""
    count = len(log.steps)
    kept = np.arange(count)
    if most is not None and count > most:
        kept = np.linspace(0, count - 1, most).round().astype(int)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(("step", *log.values))
    columns = [log.steps[kept].tolist(), *(values[kept].tolist() for values in log.values.values())]
    for row in zip(*columns, strict=True):  # numbers alone, which csv would only take longer to write
        out.write(",".join(map(repr, row)).replace("nan", "") + "\n")
    return out.getvalue()
