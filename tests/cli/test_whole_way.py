"""From a folder of JPEGs to a report, through the command line alone."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import TINY_OPTIONS, Run, refused
from vicreg_fast.training.precision import choose_precision


def weights_of(run_folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run_folder / "checkpoint.pt", weights_only=True)[
        "train_step"
    ]["network"]
    return weights


def steps_of(run_folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("pipeline", ["dali", "torchvision"])
def test_pretrain_then_linear(run: Run, run_here: Run, images: Path, tmp_path: Path, pipeline: str) -> None:
    """Pretraining in a process of its own, as a user starts it."""
    out = tmp_path / "my run"
    done = run("pretrain", "--data", images, "--out", out, "--pipeline", pipeline, *TINY_OPTIONS)
    assert done.returncode == 0, done.stderr
    assert f"{pipeline} pipeline" in done.stdout
    steps = [line.split("  ")[0] for line in done.stderr.splitlines()]
    precision, why = choose_precision("auto", torch.device("cpu"))
    # Plain lines where it is not a terminal, and no other.
    assert steps == [f"training on cpu in {precision}: {why}", "step 1/10", "step 10/10"]
    names = ["checkpoint.pt", "metrics.jsonl", "recipe.toml", "sessions.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    recipe = tomllib.loads((out / "recipe.toml").read_text())
    assert (recipe["pipeline"], recipe["batch_size"], recipe["name"]) == (pipeline, 8, "smoke")
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == list(range(1, 11))
    for key in (
        "loss",
        "invariance",
        "variance",
        "covariance",
        "learning_rate",
        "pairs_per_second",
        "std_mean",
    ):
        assert all(isinstance(line[key], float) for line in metrics), key

    probed = run_here("linear", out, "--data", images, "--floors")
    assert probed.returncode == 0, probed.stderr
    result = json.loads((out / "linear.json").read_text())
    assert set(result["results"]) == {"backbone", "random-trunk", "raw-pixels"}
    assert result["checkpoint_step"] == 10
    for subject, value in result["results"].items():
        assert sum(map(sum, value["confusion"])) == 20
        assert value["linear_top1"] == pytest.approx(
            sum(row[i] for i, row in enumerate(value["confusion"])) / 20
        )
        assert f"{subject}: linear {100 * value['linear_top1']:.1f} %" in probed.stdout
    assert str(tmp_path) not in (out / "linear.json").read_text(), "results hold no path"
    sessions = [json.loads(line) for line in (out / "sessions.jsonl").read_text().splitlines()]
    assert [(s["from_step"], s["total_steps"], s["pipeline"]) for s in sessions] == [(0, 10, pipeline)]
    assert [(s["precision"], s["precision_why"]) for s in sessions] == [(precision, why)]

    again = run_here("pretrain", "--data", images, "--out", out, "--pipeline", pipeline, *TINY_OPTIONS)
    assert again.returncode == 0
    assert "already finished" in again.stdout
    assert len((out / "sessions.jsonl").read_text().splitlines()) == 1


STEPS = 20
HELD_AT = 7
LONG = [*TINY_OPTIONS, "--set", f"epochs={STEPS // 5}"]


@pytest.fixture(scope="module")
def uninterrupted(run_here: Run, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run_here("pretrain", "--data", images, *LONG, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_an_interrupted_run_goes_on_where_it_was(
    run_here: Run,
    images: Path,
    tmp_path: Path,
    environment: dict[str, str],
    uninterrupted: Path,
    number: signal.Signals,
    code: int,
) -> None:
    out = tmp_path / "stopped"
    arguments = ["pretrain", "--data", str(images), *LONG, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.held_run", f"0:0:{HELD_AT}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 240
    while not (out / "metrics.jsonl").exists() or len(steps_of(out)) < HELD_AT:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "stopped at step" in output
    assert steps_of(out)[-1] == HELD_AT

    resumed = run_here(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resuming from step {HELD_AT} of {STEPS}" in resumed.stderr
    assert steps_of(out) == list(range(1, STEPS + 1))
    sessions = [json.loads(line) for line in (out / "sessions.jsonl").read_text().splitlines()]
    assert [session["from_step"] for session in sessions] == [0, HELD_AT]
    assert [session["precision_why"] for session in sessions][1:] == ["the run began with it"]
    expected = weights_of(uninterrupted)
    for name, weight in weights_of(out).items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.slow
def test_bench_makes_a_report(
    run_here: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.comparison.START_METHOD", "forkserver")  # which has imported torch
    monkeypatch.setattr("bench.roofline.PRODUCT_SECONDS", 1e-3)
    out = tmp_path / "bench"
    done = run_here(
        "bench", "--compare", "baseline", "--rounds", 2, "--seeds", 2, "--data", images, "--out", out,
        *TINY_OPTIONS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first[2:].startswith("vicreg-fast against baseline: speed undecided ("), done.stdout
    for word in ("memory", "accuracy"):
        assert word in done.stdout
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[:2] == ["environment", "plan"]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "environment": 1,
        "plan": 1,
        "startup": 2,
        "memory": 2,
        "step-work": 2,
        "ceiling": 2,
        "throughput": 2 * 2 * 3,
        "accuracy": 2 * 2 + 2 + 1,
    }
    pids = {(line["scenario"], line["pid"]) for line in lines if line["kind"] == "throughput"}
    assert len(pids) == 2, "each scenario has one process of its own, the whole time"
    positions = [
        (line["round"], line["position"], line["scenario"])
        for line in lines
        if line["kind"] == "throughput" and line["mode"] == "end-to-end"
    ]
    assert positions == [(0, 0, "baseline"), (0, 1, "fast"), (1, 0, "fast"), (1, 1, "baseline")]
    assert str(tmp_path) not in (out / "records.jsonl").read_text(), "records hold no path"

    html = (out / "report.html").read_text()
    assert html.index("vicreg-fast against baseline: speed") < html.index("<svg")
    with (out / "samples.csv").open() as file:
        assert len(list(csv.reader(file))) > 12

    elsewhere = tmp_path / "again"
    rendered = run_here("report", out, "--out", elsewhere, "--quiet")
    assert rendered.returncode == 0, rendered.stderr
    assert (elsewhere / "report.html").read_text() == html
    assert run_here("bench", "--data", images, "--out", out).returncode == 2, "records are never overwritten"


def test_bench_refuses_what_cannot_be_compared(run_here: Run, images: Path, tmp_path: Path) -> None:
    def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_here("bench", "--data", images, "--out", tmp_path / "b", *arguments)

    refused(bench("--compare", "basline"), 2, "basline", "baseline")
    refused(bench("--compare", "fast"), 2, "fast")
    refused(bench("--quick", "--full"), 2, "--quick")
    refused(bench("--set", "preset=paper", *TINY_OPTIONS), 2, "preset")
    refused(bench("--set", "batch_size=512"), 1, "batch")
    assert bench("--metrics", "speed").returncode == 2


def test_data_commands(run_here: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    made = run_here("data", "make", "--train", 20, "--test", 10, "--size", "40x32", "--out", folder)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(folder)
    info = run_here("data", "info", folder)
    assert info.returncode == 0
    assert "striped-star" in info.stdout
    assert run_here("data", "check", folder).returncode == 0
    bad = folder / "train" / "plain-disc" / "bad ü.jpg"
    bad.write_bytes(b"not a picture")
    checked = run_here("data", "check", folder)
    assert checked.returncode == 1
    assert "bad ü.jpg" in checked.stdout
    assert "1 files cannot be used" in checked.stderr
    assert bad.read_bytes() == b"not a picture"
    assert run_here("data", "make", "--size", "40", "--out", tmp_path / "x").returncode == 2
    refused(run_here("data", "make", "--out", folder), 1, str(folder), "new folder")


def test_output_into_a_closed_pipe_is_no_failure(environment: dict[str, str]) -> None:
    """As after `| head`: its reader has gone before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "vicreg_fast", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
