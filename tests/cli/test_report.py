"""`vicreg-fast report`: a page of what was measured, or two runs beside each other."""

import contextlib
import os
import xml.etree.ElementTree as ET
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.cli.conftest import Run, refused
from tests.reports.loss_runs import LossRun
from vicreg_fast.commands.common import stdout_console


def losses(file: Path, milliseconds: float = 1.0, **environment: object) -> Path:
    file.parent.mkdir(exist_ok=True)
    run = LossRun(file, "official", "auto").timed({"official": 8.0, "auto": milliseconds})
    run.environment |= environment
    return run.write()


@pytest.fixture(scope="module")
def published() -> Path:
    return Path(__file__).parents[2] / "reports" / "published" / "2026-11-22-cpu" / "comparison.jsonl"


def test_report_writes_beside_its_records_and_prints_the_verdict_first(run_here: Run, tmp_path: Path) -> None:
    file = losses(tmp_path / "run" / "records.jsonl")
    done = run_here("report", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("✓ ")
    assert (tmp_path / "run" / "report.html").is_file()
    quiet = run_here("report", file, "-q", "--out", tmp_path / "out")
    names = ("report.html", "report.md", "samples.csv")
    assert quiet.stdout.splitlines() == [str(tmp_path / "out" / name) for name in names]


def test_a_folder_named_compare_can_be_rendered(run_here: Run, tmp_path: Path, monkeypatch) -> None:
    losses(tmp_path / "compare" / "records.jsonl")
    monkeypatch.chdir(tmp_path)
    assert run_here("report", "./compare", "-q").returncode == 0
    assert run_here("report", "-q", "compare").returncode == 0
    done = run_here("report", "compare")
    assert done.returncode == 2
    assert "report compare [OPTIONS] A B" in done.stderr


def test_junit_is_written_where_the_records_judge_something(
    run_here: Run, published: Path, tmp_path: Path
) -> None:
    done = run_here("report", published, "-q", "--out", tmp_path, "--junit", tmp_path / "deep" / "x.xml")
    assert done.returncode == 0, done.stderr
    assert ET.parse(tmp_path / "deep" / "x.xml").getroot().tag in ("testsuites", "testsuite")
    file = losses(tmp_path / "a.jsonl")
    refused(
        run_here("report", file, "--junit", tmp_path / "y.xml", "--out", tmp_path / "none"),
        *(2, "--junit", "a.jsonl is a run of bench loss, which has no verdict"),
    )
    assert not (tmp_path / "none").exists()


def test_two_runs_beside_each_other(run_here: Run, tmp_path: Path) -> None:
    a, b = losses(tmp_path / "a" / "records.jsonl", 2.0), losses(tmp_path / "b" / "records.jsonl", 1.0)
    done = run_here("report", "compare", a.parent, b, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("✓ B runs auto, 256 × 8192")
    assert "at 2.0× the speed of A" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("compare.csv", "compare.html", "compare.md")
    ]


def test_what_is_not_comparable_ends_with_5(run_here: Run, tmp_path: Path) -> None:
    a, b = losses(tmp_path / "a.jsonl"), losses(tmp_path / "b.jsonl", cores=4, processor="Other CPU")
    refused(run_here("report", "compare", a, b), 5, "processor is Test CPU in A and Other CPU in B", "cores")
    refused(run_here("report", "compare", a, b, "--allow", "cores"), 5, "processor is")
    refused(run_here("report", "compare", a, b, "--allow", "core"), 2, "--allow core: no such field")
    done = run_here("report", "compare", a, b, "--allow", "cores", "--allow", "processor")
    assert done.returncode == 0, done.stderr
    assert "let pass with --allow" in done.stdout


def test_what_is_no_record_ends_in_one_line(run_here: Run, published: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    refused(run_here("report", tmp_path / "empty.jsonl"), 1, "empty.jsonl", "it is empty")
    refused(run_here("report", tmp_path), 1, "records.jsonl", "cannot be read")
    refused(
        run_here("report", published, losses(tmp_path / "l.jsonl")), 1, "comparison.jsonl is a comparison"
    )
    refused(run_here("report", published, published, "--out", tmp_path), 1, "given twice")
    refused(run_here("report", "compare", published, tmp_path / "no"), 1, "cannot be read")
    refused(run_here("report", published, "--out", tmp_path / "empty.jsonl"), 1, "cannot be written", "--out")


def test_a_reader_that_goes_away_is_no_failure_of_its_own() -> None:
    """`vicreg-fast report RUN | head` ends with 0: the command line takes the error for what it is."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w")
    with redirect_stdout(pipe), pytest.raises(BrokenPipeError):
        stdout_console().print("words")
    with contextlib.suppress(BrokenPipeError):  # of what is left in its buffer
        pipe.close()
