"""The README's block, its pictures and docs/RESULTS.md say what the published records say, and all of it."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports import publish
from reports.publications import load_publications
from reports.published_pictures import THEMES, palette
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
PICTURES = [f"docs/pictures/{name}-{theme}.svg" for name in ("verdict", "curve") for theme in THEMES]
UNMEASURED = "Nothing has been measured on a GPU yet"


def outside(readme: str) -> str:
    return "".join(around_block(readme))


def test_the_documents_are_what_the_records_say(root: Path) -> None:
    assert [file.name for file in publish.stale(root)] == [], "run python -m reports.publish"


def test_the_readme_measures_nothing_outside_its_block(root: Path) -> None:
    text = outside((root / "README.md").read_text(encoding="utf-8"))
    assert MEASURED.findall(text) == []


def test_the_documents_say_so_where_no_gpu_has_been_measured(root: Path) -> None:
    unmeasured = not load_publications(root / "reports" / "published").proofs
    for name in ("README.md", "docs/RESULTS.md"):
        assert (UNMEASURED in (root / name).read_text(encoding="utf-8")) == unmeasured, name


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_needs_nothing_but_itself(root: Path, picture: str) -> None:
    """As GitHub shows it: an image, which loads nothing, runs nothing and knows no page's colours."""
    text = (root / picture).read_text(encoding="utf-8")
    assert len(text.encode()) < 60_000
    svg = ElementTree.fromstring(text)
    assert not [e.tag for e in svg.iter() if e.tag.rpartition("}")[2] in ("script", "style", "image", "a")]
    links = [value for e in svg.iter() for name, value in e.attrib.items() if name.endswith("href")]
    assert [link for link in links if not link.startswith("#")] == []
    assert [word for word in ("var(", "currentColor", "@import", "url(http") if word in text] == []
    colours = set(re.findall(r"#[0-9a-f]{6}\b", text))
    assert colours
    assert colours <= set(palette(picture.rpartition("-")[2].removesuffix(".svg")).values())


def test_the_readme_says_in_words_what_its_pictures_show(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    for picture in PICTURES:
        assert readme.count(picture) == 1
        title = ElementTree.parse(root / picture).findtext("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert readme.count(f'alt="{title}"') == 1, picture


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
    changed = readme.read_text(encoding="utf-8").replace("**88×** (72–109)", "**98×** (72–109)")
    assert changed != readme.read_text(encoding="utf-8")
    readme.write_text(changed, encoding="utf-8")
    checked = CliRunner().invoke(publish.main, ["--check"])
    assert checked.exit_code == 1
    assert "README.md: is not what the records say" in checked.output
    for picture in PICTURES:
        assert f"{picture}: is not what the records say" in checked.output
    assert readme.read_text(encoding="utf-8") == changed
    assert not (checkout / "docs" / "RESULTS.md").exists()


def test_a_changed_record_and_a_proof_are_written(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = max(checkout.glob("reports/published/*/comparison.jsonl"))
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    ours = [line for line in lines if line["kind"] == "accuracy" and line["subject"] == "fast"]
    assert ours
    for line in ours:
        line["linear_top1"] = 0.5417
    lines[0]["processor"] = "Another CPU"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    full_proof(checkout / "reports" / "published" / "2026-12-01-gpu")
    monkeypatch.setattr(publish, "ROOT", checkout)
    written = CliRunner().invoke(publish.main, [])
    assert (written.exit_code, written.output.split()) == (
        0,
        ["README.md", "docs/RESULTS.md", *PICTURES],
    )
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    results = (checkout / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| **54.2 %** against " in readme
    assert "comparison.jsonl on Another CPU, " in readme
    assert f"54.2 ({ours[0]['seed']})" in results
    block = readme.split(BEGIN)[1].split(END)[0]
    assert "\n**16 of 18 targets are reached on NVIDIA H100 80GB HBM3, 1 is too close to call" in block
    assert "| ResNet-50 end to end, vicreg-fast beside baseline | ≥ 3× | 4.0× (4.0–4.0) | reached |" in block
    assert UNMEASURED not in readme + results
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
    folders = sorted((checkout / "reports" / "published").iterdir())
    if content is None:
        for folder in folders:
            (folder / file).unlink(missing_ok=True)
    else:
        (folders[-1] / file).write_text(content, encoding="utf-8")
    monkeypatch.setattr(publish, "ROOT", checkout)
    done = CliRunner().invoke(publish.main, [])
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.splitlines()) == 1


def test_a_readme_without_its_markers_is_left_alone(checkout: Path) -> None:
    (checkout / "README.md").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(RecordError, match="needs one line"):
        publish.documents(checkout)
