"""`bench trace`, and the options of `bench` that ask for traces and for what training costs."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, refused


def trace_file(folder: Path, number: int = 3) -> Path:
    """One step of 10 ms, 4 of them the forward's."""
    names = (("ProfilerStep#3", 0, 10_000), ("forward", 1_000, 5_000))
    events = [
        {
            "ph": "X",
            "cat": "user_annotation",
            "name": name,
            "pid": 1,
            "tid": 1,
            "ts": start,
            "dur": end - start,
        }
        for name, start, end in names
    ]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"rank_0.{number}.pt.trace.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    return file


def test_a_folders_traces_are_summed_up_one_by_one(tmp_path: Path, run_here: Run) -> None:
    fast, baseline = trace_file(tmp_path / "traces" / "fast"), trace_file(tmp_path / "traces" / "baseline")
    done = run_here("bench", "trace", tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines.index(str(baseline)) < lines.index(str(fast))
    assert lines.count("steps 3 to 3: 10.0 ms each") == 2
    assert lines.count("  forward        40.0%       4.0 ms") == 2
    assert run_here("bench", "trace", fast).stdout.startswith(f"{fast}\nsteps 3 to 3")


def test_a_trace_is_read_without_torch(tmp_path: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys; from vicreg_fast.cli import cli\n"
        f"cli.main(['bench', 'trace', {str(trace_file(tmp_path))!r}], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
    assert done.returncode == 0


def test_what_holds_no_trace_is_named(tmp_path: Path, run_here: Run) -> None:
    refused(run_here("bench", "trace", tmp_path), 1, str(tmp_path), "contains no trace")
    refused(run_here("bench", "trace", tmp_path / "none.json"), 1, "none.json", "No such file")
    torn = trace_file(tmp_path / "torn")
    torn.write_bytes(torn.read_bytes()[:40])
    refused(run_here("bench", "trace", torn), 1, torn.name, "not a whole trace")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--price", "nan"), ("--price", "nan")),
        (("--price", "inf"), ("--price", "inf")),
        (("--price", "0"), ("--price",)),
        (("--price", "3", "--currency", " "), ("--currency",)),
        (("--price", "3", "--currency", "DOUBLOONS"), ("--currency",)),
        (("--price", "3", "--target-accuracy", "nan"), ("--target-accuracy", "nan")),
        (("--price", "3", "--target-accuracy", "101"), ("--target-accuracy",)),
        (("--target-accuracy", "50"), ("--target-accuracy", "--price")),
        (("--price", "3", "--quick", "--target-accuracy", "50"), ("--target-accuracy", "--metrics")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_reckoned_with_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, run_here: Run
) -> None:
    done = run_here("bench", "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert all(word in last for word in words), done.stderr
    assert not (tmp_path / "run").exists()
