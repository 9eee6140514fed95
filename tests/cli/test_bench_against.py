"""`vicreg-fast bench loss --against`, as a user calls it; what the sides measure is made up here."""

import json
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import regression
from bench.regression_base import Extracted, RevisionBase
from bench.regression_server import Message
from bench.suite_loss.cases import case_names, timed_names
from tests.cli.conftest import Run, refused

QUICK = ("--cases", "auto-32x512-float32")
TINY = (*QUICK, "--rounds", 3, "--pairs", 2)


class SideHere:
    """A SideServer without a process, on an exact machine."""

    grown: dict[str, int]
    """What to add to the head's counts."""
    slower = 1.0
    """Of the head's times."""
    broken = ""
    """A side whose cases raise."""
    noisy = ""
    """A case whose processes are apart by a fifth."""

    def __init__(self, name: str, **_: object) -> None:
        self.name = name
        self.processes = {"base": 0, "head": 1, "control": 1}[name]

    def ask(self, order: Message) -> Message:
        assert order["do"] == "describe"
        return {"device": "cpu", "cuda": False, "cases": case_names("cpu"), "timed": timed_names("cpu")}

    def ask_cases(self, order: Message) -> Iterator[Message]:
        for case in order["cases"]:
            answer = self._answer(order)
            if case["name"] == self.noisy and "seconds" in answer:
                self.processes += 1
                answer["seconds"] = [
                    second * (1.2 if self.processes % 2 else 1.0) for second in answer["seconds"]
                ]
            yield {"case": case["name"], **answer}

    def _answer(self, order: Message) -> Message:
        if self.name == self.broken:
            return {"problem": "RuntimeError: in /somewhere/of/mine/loss.py"}
        if order["do"] == "count":
            grown = self.grown if self.name == "head" else {}
            return {"counts": {quantity: 100 + grown.get(quantity, 0) for quantity in regression.COUNTS}}
        if order["do"] == "judge":
            return {"calls": 3, "naive_calls": 2}
        factor = self.slower if self.name == "head" else 1.0
        pairs = order["pairs"]
        return {"pid": 7, "seconds": pairs * [0.01 * factor], "naive_seconds": pairs * [0.02]}

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[SideHere]:
    """Sides in this process, and no archive of the whole repository."""
    monkeypatch.setattr(regression, "SideServer", SideHere)
    monkeypatch.setattr(SideHere, "grown", {}, raising=False)

    def extract(base: RevisionBase, folder: Path) -> Extracted:
        return Extracted(subject=folder, cases=None, kernels={})

    monkeypatch.setattr(regression, "extract", extract)
    monkeypatch.setattr("bench.regression_base._git", lambda *_: b"c0ffee\n")
    monkeypatch.setattr("reports.regression_render.regression_pictures", lambda report: ())
    return SideHere


def against(run_here: Run, *words: object) -> "subprocess.CompletedProcess[str]":
    return run_here("bench", "loss", "--device", "cpu", "--against", *words)


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_equal_code_is_fine_and_leaves_records_and_every_report(run_here: Run, tmp_path: Path) -> None:
    out, junit, summary = tmp_path / "out", tmp_path / "junit.xml", tmp_path / "summary.md"
    summary.write_text("# An earlier step\n")
    done = against(run_here, "main", *TINY, "--out", out, "--junit", junit, "--summary", summary, "--strict")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "No regression against main" in done.stdout.splitlines()[0]
    kinds = [record["kind"] for record in records_of(out)]
    assert kinds == ["environment", "regression-plan"] + 5 * ["regression-gate"] + 9 * ["regression-sample"]
    plan = records_of(out)[1]
    assert (plan["clock"], plan["threads"], plan["rounds"], plan["pairs"]) == ("cpu", 1, 3, 2)
    assert plan["base_fingerprint"] == plan["head_fingerprint"]
    assert str(tmp_path) not in (out / "records.jsonl").read_text()
    # Each side is first, in the middle and last as often as the others.
    places = {(record["side"], record["position"]) for record in records_of(out)[7:]}
    assert len(places) >= 7
    assert summary.read_text().startswith("# An earlier step\n")
    assert "No regression" in summary.read_text()
    assert ElementTree.fromstring(junit.read_text()).find(".//testcase") is not None
    assert (out / "report.html").is_file()
    refused(against(run_here, "main", *TINY, "--out", out), 2, "holds records already")
    # Its head is the base of the next run, on the same machine.
    again = against(run_here, out, *TINY, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert "No regression against records.jsonl" in again.stdout
    sides = {record["side"] for record in records_of(tmp_path / "again") if "side" in record}
    assert sides == {"base", "head", "control"}


def test_slower_is_confirmed_and_ends_with_1(run_here: Run, here: type[SideHere], tmp_path: Path) -> None:
    here.slower = 1.1
    try:
        done = against(run_here, "main", *TINY, "--out", tmp_path / "out")
    finally:
        here.slower = 1.0
    assert done.returncode == 1, done.stderr
    assert "REGRESSION against main: auto-32x512-float32 is 10.0 % slower" in done.stdout
    attempts = [record["attempt"] for record in records_of(tmp_path / "out") if "attempt" in record]
    assert attempts == 9 * [0] + 9 * [1]


def test_a_noisy_case_is_given_more_rounds_and_no_more_than_the_most(
    run_here: Run, here: type[SideHere], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "noisy", QUICK[1])
    cases = ("--cases", f"{QUICK[1]},gram-128x1024-float32", "--pairs", 1)
    done = against(run_here, "main", *cases, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    samples = [record for record in records_of(tmp_path / "out") if record["kind"] == "regression-sample"]
    rounds = Counter(sample["case"] for sample in samples if sample["side"] == "head")
    assert rounds == {QUICK[1]: 14, "gram-128x1024-float32": 7}
    assert "7 to 14 rounds" in " ".join(done.stdout.split())
    # A number that is asked for is kept to.
    done = against(run_here, "main", *TINY, "--out", tmp_path / "three")
    assert [r["round"] for r in records_of(tmp_path / "three") if r.get("side") == "head"] == [0, 1, 2]


def test_a_count_that_rose_ends_with_1_before_anything_is_timed(
    run_here: Run, here: type[SideHere], tmp_path: Path
) -> None:
    here.grown = {"operators": 2}
    done = against(run_here, "main", *TINY, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "exact counts rose: operators" in " ".join(done.stdout.split())
    assert not any(record["kind"] == "regression-sample" for record in records_of(tmp_path / "out"))
    done = against(run_here, "main", *TINY, "--timing-too", "--out", tmp_path / "timed")
    assert done.returncode == 1, done.stderr
    assert any(record["kind"] == "regression-sample" for record in records_of(tmp_path / "timed"))


def test_a_case_that_raises_in_the_head_ends_with_4_and_in_the_base_it_is_new(
    run_here: Run, here: type[SideHere], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "broken", "head")
    done = against(run_here, "main", *QUICK, "--gates-only", "--out", tmp_path / "head")
    assert done.returncode == 4, done.stderr
    assert "RuntimeError: in loss.py" in " ".join(done.stdout.split())
    assert "/somewhere" not in (tmp_path / "head" / "records.jsonl").read_text()
    monkeypatch.setattr(here, "broken", "base")
    done = against(run_here, "main", *QUICK, "--gates-only", "--out", tmp_path / "base")
    assert done.returncode == 0, done.stderr
    assert "new, and not compared: auto-32x512-float32" in " ".join(done.stdout.split())


def test_another_machine_is_not_comparable_and_the_field_is_named(run_here: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert against(run_here, "main", *TINY, "--out", out).returncode == 0
    lines = (out / "records.jsonl").read_text().splitlines()
    plan = json.loads(lines[1])
    plan["head_fingerprint"]["processor"] = "Another CPU"
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join([lines[0], json.dumps(plan), *lines[2:]]))
    done = against(run_here, other, *TINY, "--out", tmp_path / "two")
    assert done.returncode == 5, done.stderr
    assert "processor is Another CPU in the base" in done.stdout
    assert not any(record["kind"] == "regression-sample" for record in records_of(tmp_path / "two"))
    done = against(run_here, other, *QUICK, "--gates-only", "--out", tmp_path / "three")
    assert done.returncode == 0, done.stderr


def test_a_sigterm_leaves_no_temporary_folder_and_no_traceback(
    run_here: Run, here: type[SideHere], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def ask_cases(self: SideHere, order: Message) -> Iterator[Message]:
        assert [path.name[:17] for path in folder.iterdir()] == ["vicreg-fast-base-"]
        assert callable(signal.getsignal(signal.SIGTERM)), "else it would end the tests"
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(here, "ask_cases", ask_cases)
    done = against(run_here, "main", *TINY, "--out", tmp_path / "out")
    assert done.returncode == 143
    assert done.stderr.strip() == f"vicreg-fast: what was measured is in {tmp_path / 'out/records.jsonl'}"
    assert not list(folder.iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_cannot_be_is_refused_in_one_line(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = ("--out", tmp_path / "none")
    refused(against(run_here, "main", "--cases", "gram-1x1-float32", *none), 2, "--cases gram-1x1-float32")
    refused(against(run_here, "main", "--shapes", "8x8", *none), 2, "--shapes", "--cases")
    refused(against(run_here, "main", "--gates-only", "--rounds", 3, *none), 2, "--gates-only")
    refused(against(run_here, "main", "--gates-only", "--timing-too", *none), 2, "--timing-too")
    refused(run_here("bench", "loss", "--strict", *none), 2, "--strict", "--against")
    refused(run_here("bench", "loss", "--gates-only", *none), 2, "--gates-only needs --against")
    newer = tmp_path / "newer.jsonl"
    newer.write_text('{"schema_version": 2, "kind": "regression-plan"}\n')
    refused(against(run_here, newer, *none), 5, "newer than this version reads")
    text = tmp_path / "text.json"
    text.write_text("no JSON")
    refused(against(run_here, text, *none), 5, "--against text.json")
    monkeypatch.setattr(
        "bench.regression_base._git", lambda _, what, *__: b"" if what == "rev-parse" else None
    )
    monkeypatch.setattr("bench.regression_base._git", lambda *_: None)
    junit = tmp_path / "junit.xml"
    refused(against(run_here, "no-such-branch", *none, "--junit", junit), 5, "no-such-branch")
    error = ElementTree.fromstring(junit.read_text()).find(".//testcase/error")
    assert error is not None
    assert "no-such-branch" in error.attrib["message"]
    assert not list((tmp_path / "none").glob("*"))
