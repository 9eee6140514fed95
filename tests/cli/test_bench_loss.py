"""`vicreg-fast bench loss`, as a user calls it."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from bench import loss_providers
from bench.rivals import official_loss
from tests.cli.conftest import Run, refused

QUICKLY = ("--pairs", 2, "--providers", "official,augwester,auto")


def test_bench_loss_prints_its_verdict_first_and_leaves_records_and_a_report(
    run_here: Run, tmp_path: Path
) -> None:
    out = tmp_path / "loss"
    done = run_here("bench", "loss", "--shapes", "16x32, 8x4", *QUICKLY, "--threads", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "Ours (auto) is " in done.stdout.splitlines()[0]
    assert "16 × 32, float32, cpu: 2 pairs" in done.stdout
    assert done.stderr == ""
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in records[:3]] == ["environment", "loss-comparison", "ceiling"]
    assert {record["kind"] for record in records[3:]} == {
        "loss-floor", "loss-gate", "loss-memory", "loss-timing",
    }  # fmt: skip
    assert records[1]["threads"] == 1
    assert records[1]["command"].startswith("vicreg-fast")
    assert str(tmp_path) not in (out / "records.jsonl").read_text()
    html = (out / "report.html").read_text()
    assert "solo" not in html.split("<body>")[1].split("Environment")[0]
    again = run_here("report", out, "--quiet", "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "report.html").read_text() == html
    refused(
        run_here("bench", "loss", "--shapes", "16x32", *QUICKLY, "--out", out), 2, "holds records already"
    )


def test_a_loss_that_fails_its_check_ends_with_1(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rival is replaced by a loss with another weight."""
    other = partial(official_loss, covariance_weight=2.0)
    monkeypatch.setattr(loss_providers, "augwester_loss", other)
    out = tmp_path / "out"
    options = ("--shapes", "8x12", "--pairs", 1, "--providers", "augwester,auto", "--phases", "forward")
    done = run_here("bench", "loss", *options, "--out", out)
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert "augwester failed the check against the oracle and was not timed there" in said
    assert done.stderr.startswith(
        "vicreg-fast: augwester at 8 × 12, float32 failed the check against the oracle"
    )
    assert (out / "report.html").is_file()


def test_what_cannot_be_is_refused_in_one_line(run_here: Run, tmp_path: Path) -> None:
    def loss(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_here("bench", "loss", "--out", tmp_path / "none", *arguments)

    refused(loss("--shapes", "16x"), 2, "--shapes", "256x8192")
    refused(loss("--shapes", "1x8"), 2, "--shapes 1x8")
    refused(loss("--quick", "--shapes", "8x8"), 2, "--quick")
    refused(loss("--update"), 2, "--static")
    refused(loss("--providers", "oficial"), 2, "did you mean 'official'")
    for arguments in (("--dtype", "float8"), ("--phases", "sideways"), ("--pairs", "0")):
        done = loss(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
