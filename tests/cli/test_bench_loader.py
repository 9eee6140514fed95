"""`vicreg-fast bench loader`: every loader once, what it writes and says, and what it refuses."""

from pathlib import Path

import pytest

from bench.loader_record import LoaderFidelity, LoaderPlan, LoaderRate
from bench.record import Environment, read_records
from tests.cli.conftest import Run, refused

TINY = ("--sizes", "32", "--batch-size", "4", "--rounds", "1", "--seconds", "0.05", "--workers", "1")


def test_every_loader_is_timed_and_compared(run_here: Run, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "loader"
    done = run_here("bench", "loader", "--data", images, "--out", out, *TINY, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "dali makes" in done.stdout
    assert "batch 4" in done.stdout
    records, problems = read_records(out / "records.jsonl")
    assert not problems
    assert isinstance(records[0], Environment)
    plan = records[1]
    assert isinstance(plan, LoaderPlan)
    assert (plan.threads, plan.image_sizes, plan.batch_sizes) == ((1,), (32,), (4,))
    assert str(tmp_path) not in (out / "records.jsonl").read_text(encoding="utf-8")
    names = [subject.name for subject in plan.subjects]
    assert names == ["torchvision-stock", "torchvision", "torchvision-v2", "dali"]
    assert [r.subject for r in records if isinstance(r, LoaderFidelity)] == names
    assert [r.subject for r in records if isinstance(r, LoaderRate)] == names
    assert {"report.html", "report.md", "samples.csv"} <= {path.name for path in out.iterdir()}
    refused(run_here("bench", "loader", "--out", out), 2, "holds records already")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--augmentation", "none"), 2, ("--augmentation none", "official")),
        (("--pipelines", "dalli"), 2, ("--pipelines dalli", "torchvision-v2")),
        (("--decoders", "dali-mixed", "--device", "cpu"), 2, ("dali-mixed", "CUDA")),
        (("--batch-size", "4,41"), 1, ("batch",)),
        (("--data", "/nowhere"), 1, ("/nowhere",)),
    ],
    ids=["augmentation", "pipeline", "decoder", "batch", "data"],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    arguments: tuple[str, ...], code: int, words: tuple[str, ...], run_here: Run, images: Path, tmp_path: Path
) -> None:
    done = run_here("bench", "loader", "--data", images, "--out", tmp_path / "out", *arguments)
    refused(done, code, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "0"),
        ("--threads", "1,x"),
        ("--sizes", ""),
        ("--batch-size", "4,,8"),
        ("--seconds", "nan"),
    ],
    ids=["no threads", "no number", "nothing", "a gap", "not a number"],
)
def test_a_wrong_value_names_its_option(option: str, value: str, run_here: Run) -> None:
    done = run_here("bench", "loader", option, value)
    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr
