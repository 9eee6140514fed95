"""The README's numbers and docs/RESULTS.md are what the published records say, and there are no others."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports import publish
from reports.published_readme import BEGIN, END, around_block
from tests.reports.proof_runs import full_proof
from vicreg_fast.errors import RecordError

MEASURED = re.compile(
    r"""
      \d\s?×(?!\s?[\d×A-Z])                    # 2.4× as fast, and neither 256 × 8192 nor N×N
    | \d(?:x|\ times|-fold)\b                 # 3x, 20 times as fast
    | \d\ per\s?cent\b
    | \d[\d.,]*\s?%(?!\s(?:bootstrap\s)?interval)   # 48.2 %, but not a 95 % interval
    | \d\s?points?\b                           # 4.9 points
    | \d\s?(?:pairs|images|steps)(?:/s|\sa\ssecond)
    | \d\s?(?:ns|µs|ms|s|seconds?|minutes?)\b  # 100 s
    | \d\s?(?:[kMGTP]?FLOP|[KMGT]i?B)(?:/s)?\b
    | \b1/\d+\ of\b                            # 1/40 of the memory
    """,
    re.VERBOSE,
)
"""What looks like a number that was measured."""


def outside(readme: str) -> str:
    return "".join(around_block(readme))


def test_the_documents_are_what_the_records_say(root: Path) -> None:
    assert [file.name for file in publish.stale(root)] == [], "run python -m reports.publish"


def test_the_readme_measures_nothing_outside_its_block(root: Path) -> None:
    text = outside((root / "README.md").read_text(encoding="utf-8"))
    assert MEASURED.findall(text) == []


@pytest.mark.parametrize(
    "planted",
    [
        "Ours is 3.1× as fast.",
        "It is 3x faster, or 40 percent.",
        "It is 20 times as fast as the authors'.",
        "The probe reaches 48.2 % on CIFAR-10.",
        "That is 4.9 points more.",
        "DALI makes 206 pairs/s here.",
        "An epoch takes 100 s on it.",
        "A call takes 0.35 ms.",
        "It reaches 700 TFLOP/s, and peaks at 12 GiB.",
        "It holds 1/40 of the memory.",
    ],
)
def test_a_planted_number_is_found(root: Path, planted: str) -> None:
    text = outside((root / "README.md").read_text(encoding="utf-8"))
    assert MEASURED.search(f"{text}\n{planted}\n") is not None


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """The README and the published records, to be changed; of the losses only what the README is made of."""
    shutil.copy(root / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copytree(root / "reports" / "published", tmp_path / "reports" / "published")
    for spare in tmp_path.glob("reports/published/*/loss-stable-pretraining*.jsonl"):
        spare.unlink()
    (losses,) = tmp_path.glob("reports/published/*/loss.jsonl")
    lines = losses.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if '"phase"' not in line or '"forward+backward"' in line]
    losses.write_text("".join(kept), encoding="utf-8")
    return tmp_path


def test_a_changed_number_is_seen_and_nothing_written(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "ROOT", checkout)
    readme = checkout / "README.md"
    changed = readme.read_text(encoding="utf-8").replace("88× as fast", "98× as fast")
    readme.write_text(changed, encoding="utf-8")
    checked = CliRunner().invoke(publish.main, ["--check"])
    assert checked.exit_code == 1
    assert "README.md: is not what the records say" in checked.output
    assert readme.read_text(encoding="utf-8") == changed
    assert not (checkout / "docs" / "RESULTS.md").exists()


def test_a_changed_record_and_a_proof_are_written(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = checkout.glob("reports/published/*/cifar10.jsonl")
    text = record.read_text(encoding="utf-8")
    assert '"linear_top1": 0.4415' in text
    record.write_text(text.replace('"linear_top1": 0.4415', '"linear_top1": 0.5415'), encoding="utf-8")
    full_proof(checkout / "reports" / "published" / "2026-12-01-gpu")
    monkeypatch.setattr(publish, "ROOT", checkout)
    written = CliRunner().invoke(publish.main, [])
    assert (written.exit_code, written.output.split()) == (0, ["README.md", "docs/RESULTS.md"])
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    results = (checkout / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert "54.2 % with torchvision" in readme
    assert "54.2 %" in results
    block = readme.split(BEGIN)[1].split(END)[0]
    assert block.startswith(
        "\n**16 of 18 targets are reached on NVIDIA H100 80GB HBM3, 1 is too close to call"
    )
    assert "| ResNet-50 end to end, vicreg-fast beside baseline | ≥ 3× | 4.0× (4.0–4.0) | reached |" in block
    assert "No GPU has been measured" not in readme + results
    assert results.index("16 of 18 targets") < results.index("## Intel")
    assert "reports/published/2026-12-01-gpu/" in results


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("loss.jsonl", None, "no folder holds loss.jsonl"),
        ("cifar10.jsonl", '{"kind": "environment"', "line 1: not a whole JSON object"),
        ("more.jsonl", "", "more.jsonl: no environment record"),
    ],
)
def test_what_cannot_be_published_is_one_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str | None, words: str
) -> None:
    (folder,) = (checkout / "reports" / "published").iterdir()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content, encoding="utf-8")
    monkeypatch.setattr(publish, "ROOT", checkout)
    done = CliRunner().invoke(publish.main, [])
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.splitlines()) == 1


def test_a_readme_without_its_markers_is_left_alone(checkout: Path) -> None:
    (checkout / "README.md").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(RecordError, match="needs one line"):
        publish.documents(checkout)
