"""`vicreg-fast prove` as a user calls it: one rehearsal of everything, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.proof_parts import PART_NAMES
from tests.cli.conftest import Run, refused


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def compared_in_turn(timed: list[dict[str, Any]]) -> None:
    """Two rounds of three scenarios: each in one process all the time, the second round in opposite order."""
    assert len(timed) == 2 * 3 * 2
    assert len({(record["scenario"], record["pid"]) for record in timed}) == 3
    for mode in ("end-to-end", "compute-only"):
        found = [record for record in timed if record["mode"] == mode]
        order = ["baseline", "tuned-compile", "fast"]
        assert [record["scenario"] for record in found] == order + order[::-1]
        assert [record["position"] for record in found] == [0, 1, 2, 0, 1, 2]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a rehearsal is of a machine without a GPU")
def test_a_rehearsal_runs_every_part_and_is_not_run_twice(
    run_here: Run, environment: dict[str, str], images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "proof"
    done = subprocess.run(
        [sys.executable, "-m", "vicreg_fast", "prove", "--out", out, "--data", images, "--budget", "3600"],
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, (done.stderr, done.stdout)
    assert done.stderr == ""

    (plan,) = records(out, "proof-plan")
    assert plan["rehearsal"]
    assert plan["parts"] == list(PART_NAMES) == plan["asked"]
    ends = {end["name"]: end for end in records(out, "proof-part")}
    assert list(ends) == list(PART_NAMES)
    for name, end in ends.items():
        assert end["status"] == "done" or (end["status"] == "missing" and end["detail"]), (name, end)
    assert str(tmp_path) not in (out / "records.jsonl").read_text(), "records name no path"

    assert records(out / "environment", "ceiling")
    assert "torch" in json.loads((out / "environment" / "doctor.json").read_text())
    (tests,) = records(out / "tests", "proof-tests")
    assert tests["passed"] > 0
    assert (tests["failed"], tests["errors"], tests["failures"]) == (0, 0, [])
    assert tests["skipped"]["needs a CUDA device"] > 0
    profiled = records(out / "loss", "loss-profile")
    assert {profile["provider"] for profile in profiled} == {"auto", "gram"}
    assert all(profile["kernels"] and profile["busy_seconds"] > 0 for profile in profiled)
    ranks = records(out / "loss", "loss-rank-timing")
    assert {(timing["provider"], timing["world_size"]) for timing in ranks} == {
        ("official", 8), ("auto", 8), ("gram", 8)
    }  # fmt: skip
    assert [cold["caches"] for cold in records(out / "loss" / "cold", "loss-comparison")] == ["cold"]
    (compared,) = records(out / "compare", "plan")
    assert [scenario["name"] for scenario in compared["scenarios"]] == ["baseline", "tuned-compile", "fast"]
    assert {peak["scenario"] for peak in records(out / "memory", "memory")} == {"baseline", "fast"}
    assert records(out / "compare", "trace-shares")
    compared_in_turn(records(out / "compare", "throughput"))
    assert [len(records(out / "compare", kind)) for kind in ("step-work", "ceiling")] == [3, 2]
    (ladder,) = records(out / "ladder", "plan")
    assert [rung["change"] for rung in ladder["ladder"]] == ["fused_loss"]
    for name in ("capture", "ladder", "cifar-r18"):
        assert records(out / name, "throughput"), name
        assert not records(out / name, "failure"), name
    result = json.loads((out / "cifar10" / "run" / "linear.json").read_text())
    assert set(result["results"]) == {"backbone", "random-trunk", "raw-pixels"}

    assert "A rehearsal on a CPU" in done.stdout.splitlines()[0]
    assert "Claims" in done.stdout
    assert "≥ 1,400 pairs/s" in done.stdout
    page = (out / "report.html").read_text()
    for name in ("loss", "compare", "ladder"):
        assert (out / name / "report.html").is_file()
        assert f'href="{name}/report.html"' in page

    before = (out / "records.jsonl").read_bytes()
    again = run_here("prove", "--out", out, "--data", images)
    assert again.returncode == 0, again.stderr
    assert (out / "records.jsonl").read_bytes() == before, "what is done is not run again"
    assert again.stdout.splitlines()[:-2] == done.stdout.splitlines()[:-2]

    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    lines = before.decode().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "gpu": "NVIDIA L4"})
    (moved / "records.jsonl").write_text("\n".join(lines) + "\n")
    refused(run_here("prove", "--out", moved), 2, "another device", "NVIDIA L4", "--out")


def test_what_cannot_be_is_refused_in_one_line(run_here: Run, tmp_path: Path) -> None:
    out = tmp_path / "none"
    refused(
        run_here("prove", "--out", out, "--part", "ladders"), 2, "--part ladders", "did you mean 'ladder'"
    )
    refused(run_here("prove", "--out", out, "--part", "?"), 2, "environment", "cifar10")
    for arguments in (
        ("--budget", "nan"), ("--budget", "0"), ("--budget", "soon"), ("--data", tmp_path / "missing")
    ):  # fmt: skip
        done = run_here("prove", "--out", out, *arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
    assert run_here("prove").returncode == 2
    assert not out.exists()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "records.jsonl").write_text(
        '{"schema_version": 1, "kind": "failure", "time": "x", '
        '"scenario": "a", "stage": "b", "message": "c"}\n'
    )
    refused(run_here("prove", "--out", tmp_path / "bench"), 1, "not of a proof", "--out")
