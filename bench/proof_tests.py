"""The tests marked `gpu`, run by pytest in this process, and what it says of them as a record.

pytest is a developer's tool that a machine may lack; what its settings ask for beyond it (a timeout) may be
missing as well, and is then done without.
"""

import importlib.util
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.environment import measure_environment
from bench.proof_record import FailedTest, ProofTests
from bench.record import RecordWriter

RAN = (0, 1)
"""pytest's exit codes where it ran the tests: all passed, and some did not."""
LONGEST_MESSAGE = 300
MOST_FAILURES = 50


def run_tests(arguments: Sequence[str], folder: Path, records: Path) -> tuple[int, str]:
    """pytest with those arguments in `folder`. Writes a ProofTests; returns 0 where the tests ran, whether or
    not they passed, or pytest's own exit code, and in words how many did not pass."""
    import pytest

    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]  # of a pytest that runs us
    before = Path.cwd()
    os.chdir(folder)
    tally = Tally()
    writer = RecordWriter(records)
    try:
        writer.write(measure_environment())
        options = ("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors")
        code = int(pytest.main([*arguments, *options], plugins=[tally]))
    finally:
        writer.write(tally.record())
        writer.close()
        os.chdir(before)
    found = tally.record()
    bad = found.failed + found.errors
    said = f"{bad} of {bad + found.passed} tests did not pass" if bad else ""
    return (0 if code in RAN else code), said


class Tally:
    """A plugin of pytest that counts."""

    def __init__(self) -> None:
        self._passed = self._failed = self._errors = 0
        self._skipped: Counter[str] = Counter()
        self._failures: list[FailedTest] = []
        self._seconds = 0.0

    def record(self) -> ProofTests:
        return ProofTests(
            passed=self._passed,
            failed=self._failed,
            errors=self._errors,
            skipped=dict(self._skipped),
            failures=tuple(self._failures[:MOST_FAILURES]),
            seconds=round(self._seconds, 3),
        )

    def pytest_addoption(self, parser: Any) -> None:
        if importlib.util.find_spec("pytest_timeout") is None:
            parser.addini("timeout", "of pytest-timeout, which is not installed")

    def pytest_collectreport(self, report: Any) -> None:
        if report.skipped:
            self._skipped[_reason(report)] += 1
        elif report.failed:
            message = _message(report)
            if "No module named 'hypothesis'" in str(report.longrepr):
                self._skipped["the package hypothesis is not installed"] += 1
                return
            self._errors += 1
            self._failures.append(FailedTest(name=report.nodeid, message=message))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._seconds += report.duration
        if report.skipped:
            self._skipped[_reason(report)] += 1
        elif report.failed:
            if report.when == "call":
                self._failed += 1
            else:
                self._errors += 1
            self._failures.append(FailedTest(name=report.nodeid, message=_message(report)))
        elif report.when == "call":
            self._passed += 1


def _reason(report: Any) -> str:
    """Why it was skipped, as the test says it."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ").splitlines()[0]


def _message(report: Any) -> str:
    """The line that says what went wrong."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    return str(lines[0] if crash is not None else lines[-1])[:LONGEST_MESSAGE]
