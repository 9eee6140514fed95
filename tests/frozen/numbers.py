"""The numbers that a command says, without its prose: what has to stay while the code behind it moves.

Nothing of `bench`, `reports` or the commands is imported: only the command line and the files it writes are
read. Words are not frozen. Where a heading or a label that leads to a number is given better words, `RENAMED`
gets the new one with the old, and the expected numbers stay as they are.
"""

import contextlib
import csv
import io
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from vicreg_fast.cli import main

RENAMED: dict[str, str] = {}
"""What a table, column, row, card, test or status is called now, to what it was called when its numbers were
frozen."""

GOING_TABLES = ("Cost",)
"""Tables that the plan takes away, with prices and currencies."""
GOING_COLUMNS = ("operators' bytes", "model FLOPs a byte")
"""Columns that the plan takes away, with the roofline."""

PROSE_TABLES = (
    *("Environment", "Recipe", "Scenarios", "Loaders", "Sessions", "Tests that fail"),
    *("What had to be equal", "What the numbers stand on", "Changed against"),
)
"""How the titles begin of what was measured on, and of sentences in the form of a table."""
PROSE_COLUMNS = (
    *("on", "trace", "why", "what it is", "why not, or what it could not measure", "source"),
    *("what else changed there", "differs from official"),
)
STATUS_COLUMNS = (
    *("status", "verdict", "state", "check", "confirmed", "B is", "bound", "bound by", "last change"),
    *("as", "ours as", ""),
)
"""Columns whose words are a result."""
SUBJECT_COLUMNS = ("subject", "loader", "provider", "case", "what")
"""Of a CSV file: whom a row is about."""

UNITS = r"×|%|points|pairs/s|µs|ms|s|[KMGT]iB|[kMGT]?FLOP/s|[kMGT]?FLOP|[KMGT]iB/s|EUR|J|W"
NUMBER = re.compile(
    rf"(?<![\w.-])([+−]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:e[+-]\d+)?)\s?({UNITS})?(?!\w)"
)
EXIT_CODE = re.compile(r"Exit code (\d)(?:, with --strict (\d))?")
TONE = re.compile(r"^\*\*([✓✗?]) (.*)\*\*$", re.MULTILINE)
CARD = re.compile(r"^- ([✓✗?]) ([^:]+): (.*)$", re.MULTILINE)
RATIO = re.compile(r"([\d.]+×)[^()×\n]*\((?:95 % interval )?([\d.]+)(?:–| to )([\d.]+)[,;)]")


def run(*arguments: str | Path) -> int:
    """The exit code of `vicreg-fast` with these arguments; its output is dropped."""
    silent = io.StringIO()
    with (
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["vicreg-fast", *map(str, arguments)]),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def numbers_of(exit_code: int, folder: Path) -> dict[str, Any]:
    """The exit code, and every number in the files that a command wrote into `folder`: Markdown, CSV and
    JUnit XML."""
    found: dict[str, Any] = {"exit code": exit_code}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if path.suffix == ".md":
            found |= markdown_numbers(text)
        elif path.suffix == ".csv":
            found[path.name] = csv_numbers(text)
        elif path.suffix == ".xml":
            found["junit"] = junit_numbers(text)
    return found


def markdown_numbers(text: str) -> dict[str, Any]:
    """Verdict, cards, tables, and the ratios that stand in sentences alone."""
    text = re.sub(r"\\([\\`*_{}\[\]<>|#~$&])", lambda m: "¦" if m[1] == "|" else m[1], text)
    headline = TONE.search(text)
    tables, going = {}, {}
    for title, columns, rows in _tables(text):
        if title.startswith(PROSE_TABLES):
            continue
        kept, gone = _table_numbers(columns, rows)
        if title.startswith(GOING_TABLES):
            kept, gone = {}, kept
        if kept:
            tables[title] = kept
        if gone:
            going[title] = gone
    said = [code for codes in EXIT_CODE.findall(text) for code in codes if code]
    return {
        "verdict": headline[1] if headline else None,
        "verdict's numbers": [n for n in numbers(headline[2]) if n[-1] in "×%"] if headline else [],
        "cards": {_was(label): [tone, *numbers(value)] for tone, label, value in CARD.findall(text)},
        "tables": tables,
        "ratios in sentences alone": _ratios_in_sentences(text),
        **({"exit code said": said} if said else {}),
        **({"taken away by the plan": going} if going else {}),
    }


def numbers(text: str) -> list[str]:
    """Each number with its unit, in order, as it was rounded for a reader."""
    return [f"{n.replace(',', '').replace('−', '-')} {unit}".strip() for n, unit in NUMBER.findall(text)]


def _ratios_in_sentences(text: str) -> list[str]:
    """Ratios with an interval that no row of a table has: a sentence that repeats a table may go."""
    rows = [set(numbers(line)) for line in text.splitlines() if line.startswith("|")]
    found = {tuple(numbers(" ".join(ratio))) for ratio in RATIO.findall(text)}
    return sorted(" ".join(ratio) for ratio in found if not any(row >= set(ratio) for row in rows))


def _was(name: str) -> str:
    return RENAMED.get(name, name)


def _tables(text: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of each table below a heading of its own."""
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, *lines = part.splitlines()
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]
        if rows:
            yield _was(title.strip()), _unique([_was(name) for name in rows[0]]), rows[2:]


def _unique(names: Sequence[str]) -> list[str]:
    """A name that comes again is numbered."""
    return [n if n not in names[:i] else f"{n} ({names[:i].count(n) + 1})" for i, n in enumerate(names)]


def _table_numbers(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[dict, dict]:
    """Label of a row to column to numbers, or to the words of a status; the second holds what the plan takes
    away."""
    width = 1
    while width < len(columns) and len({tuple(row[:width]) for row in rows}) < len(rows):
        width += 1
    labels = _unique([", ".join(map(_was, row[:width])) for row in rows])
    kept: dict[str, dict[str, Any]] = {}
    going: dict[str, dict[str, Any]] = {}
    for row, label in zip(rows, labels, strict=True):
        for column, cell in list(zip(columns, row, strict=True))[width:]:
            value: Any = numbers(cell)
            if column in PROSE_COLUMNS:
                continue
            if column in STATUS_COLUMNS:
                value = _was(cell)
            elif not value and cell != "–":
                continue
            (going if column in GOING_COLUMNS else kept).setdefault(label, {})[column] = value
    return kept, going


def csv_numbers(text: str) -> dict[str, Any]:
    """Of each subject how many measured values there are, and their sum, least and greatest, whichever
    columns they stand in: in full, to 9 digits. Where no value has a fraction, those of the last column."""
    first, *rows = csv.reader(io.StringIO(text))
    place = next((first.index(name) for name in SUBJECT_COLUMNS if name in first), None)
    found: dict[str, list[float]] = {}
    for row in rows:
        measured = [
            float(cell) for cell in row if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell) and _split(cell)
        ]
        whole = [float(cell) for cell in row[-1:] if cell.isdecimal()]
        found.setdefault("all" if place is None else row[place], []).extend(measured or whole)
    return {
        subject: {
            "values": len(values),
            **{
                name: _digits(of(values))
                for name, of in (("sum", math.fsum), ("least", min), ("greatest", max))
            },
        }
        for subject, values in found.items()
        if values
    }


def _split(cell: str) -> bool:
    return "." in cell or "e" in cell


def _digits(value: float) -> float:
    return float(f"{value:.9g}")


def junit_numbers(text: str) -> dict[str, Any]:
    """The counts, and each test's outcome, its type and the time it took."""
    suite = next(ElementTree.fromstring(text).iter("testsuite"))
    cases = list(suite.iter("testcase"))
    names = _unique([_was(case.get("name", "")) for case in cases])
    return {
        **{count: int(suite.get(count, "-1")) for count in ("tests", "failures", "errors", "skipped")},
        "cases": {name: _outcome(case) for name, case in zip(names, cases, strict=True)},
    }


def _outcome(case: ElementTree.Element) -> list[str]:
    (child,) = list(case) or [None]
    outcome = "passed" if child is None or child.tag == "system-out" else child.tag
    kind = "" if child is None else child.get("type", "")
    return [outcome, kind, f"{float(case.get('time', 'nan')):.3f} s"]


def differences(expected: Any, found: Any, place: str = "") -> list[str]:
    """One line for each value that is not what it was."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for key in sorted(expected.keys() | found.keys())
            for line in differences(expected.get(key), found.get(key), f"{place} / {key}" if place else key)
        ]
    return [] if expected == found else [f"{place}: was {expected}, is {found}"]
