"""The page, the Markdown, the terminal's text and the JUnit of a proof."""

import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from reports.dispatch import choose_kind
from reports.junit import proof_junit
from reports.proof_figures import targets_picture
from reports.proof_judge import Proof, judge_proof
from reports.proof_profile import profile_tables
from reports.proof_render import print_proof, render_proof_html, render_proof_markdown, write_proof
from reports.proof_words import ceilings_table, claims_table, proof_verdict
from tests.reports.proof_runs import H100, ProofRun, full_proof
from vicreg_fast.errors import UsageError


def printed(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=150)
    print_proof(folder, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    run = full_proof(tmp_path_factory.mktemp("proof")).page("compare").page("loss")
    return judge_proof(run.folder)


@pytest.fixture(scope="module")
def full_page(full: Proof) -> str:
    written = write_proof(full.source.folder, full.source.folder)
    assert sorted(written) == ["report.html", "report.md"]
    return written["report.html"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def short_page(short: Proof) -> str:
    return render_proof_html(short)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    run = ProofRun(tmp_path_factory.mktemp("short"), gpu="NVIDIA <b>A100</b>").tests(failed=2)
    run.losses(small=12, large=6, held=0.2).comparisons(1250, busy=0.8)
    run.ended("dali", "missing", "DALI cannot be imported").ended("ladder", "left-out", "540 s were spent")
    return judge_proof(run.ended("cifar10", "cut", "it ran into its limit of 60 s").folder)


def test_the_verdict_counts_and_names(full: Proof, short: Proof) -> None:
    said = proof_verdict(full)
    assert said.headline == (
        f"16 of 18 targets are reached on {H100}, 1 is too close to call (linear-untrained), "
        "1 not measured (loss-rank-official)."
    )
    assert (said.tone, said.caveats) == ("open", ())
    said = proof_verdict(short)
    assert said.tone == "bad"
    assert "8 fall short (gpu-tests, loss-256-official, loss-256-compiled and 5 more)" in said.headline
    assert said.context[1] == "Loss 256 × 8192 beside the authors', eager: 12.0× (12.0–12.0), target ≥ 20×."
    assert said.caveats[0].startswith("The targets are about an NVIDIA H100, and this was measured on")
    assert "cifar10 was cut: it ran into its limit of 60 s" in said.caveats[1]


def test_everything_reached_is_good(full: Proof) -> None:
    reached = tuple(row for row in full.rows if row.verdict == "reached")
    said = proof_verdict(Proof(source=full.source, rows=reached))
    assert (said.tone, said.headline) == ("good", f"16 of 16 targets are reached on {H100}.")


@pytest.mark.parametrize(
    ("ladder", "tone", "words"),
    [
        ("done", "open", "every part ran. It says nothing of speed."),
        ("missing", "open", "9 of 10 parts ran; ladder cannot run here: why. It says nothing of speed."),
        ("failed", "bad", "9 of 10 parts ran; ladder failed: why. It says nothing of speed."),
    ],
)
def test_a_rehearsal_says_that_it_is_one(tmp_path: Path, ladder: Any, tone: str, words: str) -> None:
    run = ProofRun(tmp_path, rehearsal=True).tests(passed=0).losses().comparisons().others()
    run.ended("ladder", ladder, "why")
    if ladder == "missing":  # it is the last attempt that ran which counts, and the others above did
        text = (tmp_path / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in text if '"name": "ladder", "status": "done"' not in line]
        (tmp_path / "records.jsonl").write_text("".join(kept), encoding="utf-8")
    said = proof_verdict(judge_proof(tmp_path))
    assert (said.tone, said.headline) == (tone, f"A rehearsal on a CPU: {words}")
    assert "reached" not in printed(tmp_path)


def test_the_terminal_ends_with_the_claims(short: Proof) -> None:
    text = printed(short.source.folder)
    assert text.startswith("✗ 5 of 18 targets are reached on NVIDIA <b>A100</b>")
    columns = ("claim", "verdict", "target", "measured", "95 % interval", "floor")
    assert re.search(r"\s+".join(columns), text)
    assert re.search(r"ResNet-50 end to end, vicreg-fast beside tuned\s+falls short\s+≥ 1.5×\s+1.25×", text)
    assert re.search(r"dali-step\s+dali\s+dali cannot run here: DALI cannot be imported", text)
    assert "tests/test_1.py::test" in text
    assert re.search(r"ladder\s+left-out\s+0 s\s+0\s+540 s were spent", text)


def test_the_page_has_verdict_then_pictures_then_numbers(full_page: str, short_page: str) -> None:
    page = full_page
    places = [page.index(mark) for mark in ("16 of 18", "<h2>Pictures", "<h2>Claims", "<h2>Parts")]
    assert places == sorted(places)
    assert '<a href="compare/report.html">compare</a>' in page
    assert '<a href="loss/report.html">loss</a>' in page
    assert "ladder/report.html" not in page, "there is none"
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="(https?:[^"]*)', page)) == set()
    assert "<b>A100" not in short_page
    assert "&lt;b&gt;A100" in short_page
    assert short_page.count('class="word bad"') == 8
    assert "Where a step&#39;s time goes: compare" in short_page


def test_equal_records_give_equal_pages(short: Proof, short_page: str) -> None:
    again = judge_proof(short.source.folder)
    assert render_proof_html(again) == short_page
    assert render_proof_markdown(again) == render_proof_markdown(short)


def test_every_part_has_its_picture_with_ids_of_its_own(full: Proof, full_page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', full_page)
    assert ids
    assert len(set(ids)) == len(ids)
    assert full_page.count("<figure>") == 9
    picture = targets_picture(full)
    assert picture is not None
    assert picture.title == "16 of 16 numbers are on their target's side"
    assert "Loss 256 × 8192 beside the authors', eager: 22× (22–22), target ≥ 20×, reached" in picture.alt


def test_a_proof_that_measured_nothing_still_has_a_page(tmp_path: Path) -> None:
    proof = judge_proof(ProofRun(tmp_path).folder)
    assert targets_picture(proof) is None
    assert proof_verdict(proof).headline.startswith(f"0 of 18 targets are reached on {H100}, 18 not measured")
    assert "<h2>Pictures" not in render_proof_html(proof)
    assert "gpu-tests was not run" not in printed(tmp_path)
    assert "tests was not run" in printed(tmp_path)


def test_the_profile_is_of_the_parts_that_fall_short(full: Proof, short: Proof) -> None:
    assert profile_tables(full) == ()
    (table,) = profile_tables(short)
    assert table.columns[0] == "scenario"
    assert ("GPU idle", "20.0 %") in list(zip(table.columns, table.rows[0], strict=True))


def test_the_ceilings_are_those_of_the_environment(full: Proof, full_page: str) -> None:
    assert ceilings_table(full).rows == (("bfloat16", "700 TFLOP/s", "2,328 GiB/s"),)
    assert "What the device reaches" in full_page


def test_markdown_has_what_the_page_has(short: Proof) -> None:
    text = render_proof_markdown(short)
    assert text.startswith("## Proof on NVIDIA \\<b\\>A100\\</b\\>\n\n**✗ 5 of 18 targets are reached")
    for title in ("### Claims", "### Parts", "### Tests that fail", "### Environment"):
        assert title in text
    assert len(claims_table(short).rows) == len(short.rows)


def test_a_report_elsewhere_links_to_nothing(tmp_path: Path) -> None:
    run = ProofRun(tmp_path / "proof").tests().page("tests")
    for out, links in ((run.folder, True), (tmp_path / "elsewhere", False)):
        page = write_proof(run.folder, out)["report.html"].read_text(encoding="utf-8")
        assert ('href="tests/report.html"' in page) == links


def test_junit_fails_what_falls_short(short: Proof) -> None:
    root = ElementTree.fromstring(proof_junit(short))
    assert root.find("testsuite").attrib["failures"] == "8"  # type: ignore[union-attr]
    outcomes = {case.attrib["name"]: [child.tag for child in case] for case in root.iter("testcase")}
    assert outcomes["ResNet-50 end to end, vicreg-fast beside tuned"] == ["failure"]
    assert outcomes["ResNet-50 end to end, vicreg-fast beside baseline"] == ["system-out"]
    assert outcomes["CIFAR ResNet-18 end to end, vicreg-fast"] == ["skipped"]
    assert outcomes["cifar10 runs"] == outcomes["dali runs"] == ["skipped"]
    assert outcomes["loss runs"] == []
    assert "ResNet-50 device memory, vicreg-fast beside baseline" not in outcomes, "it has no target"


def test_a_folder_and_its_records_are_a_proof_and_two_are_too_many(full: Proof, short: Proof) -> None:
    folder = full.source.folder
    assert choose_kind([folder]).name == choose_kind([folder / "records.jsonl"]).name == "a proof"
    assert choose_kind([folder / "compare"]).name == "a comparison"
    assert choose_kind([folder / "loss"]).name == "a run of bench loss"
    both = [folder, short.source.folder]
    with pytest.raises(UsageError, match="name one folder at a time"):
        choose_kind(both).write(both, folder)
